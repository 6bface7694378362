/* SPDX-License-Identifier: Apache-2.0 */
/* A keeper without a sandbox: init's socket ends here, one client is connected, nothing runs. */
#pragma once

#include "engine/keeper.h"

struct fuzz_keeper {
	struct keeper k;
	int init_fd;   /* the other end of k.box.sock_fd */
	int client_fd; /* the other end of the first connection */
};

/* The one keeper, with a fresh client, in this state. */
struct fuzz_keeper *fuzz_keeper_new(enum state state);
/* Ends commands and connections. */
void fuzz_keeper_done(struct fuzz_keeper *f);
