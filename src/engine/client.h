/* SPDX-License-Identifier: Apache-2.0 */
/* L5: the other end of a keeper's control socket. Blocking; one request at a time on a connection.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/registry.h"
#include "spec/result.h"

struct client {
	int fd;
	int dir_fd; /* the sandbox's state directory */
	char id[REGISTRY_ID];
};

#define CLIENT_INIT ((struct client){.fd = -EBADF, .dir_fd = -EBADF})

/* -ENOENT: no sandbox; -EPIPE: its keeper is gone (state "exited", or it was killed: see
 * *ret_exited). */
int client_open(const char *name, struct client *ret, bool *ret_exited, struct err *e);
/* The same, but a keeper that takes no connection in that time is -ETIMEDOUT. */
int client_open_within(const char *name, uint64_t timeout_ns, struct client *ret, bool *ret_exited,
		       struct err *e);
void client_close(struct client *c);
/* Sends method with params (stolen; NULL: there was no memory for them) and descriptors. */
int client_send(struct client *c, const char *method, json_t *params, const int *fds, int n,
		struct err *e);
/*
 * The next frame: 1 = an answer's result, 2 = an event; *ret is new; errors of the keeper become *e
 * and a negative errno. fds as in frame_receive.
 */
int client_receive(struct client *c, json_t **ret, int *fds, int *ret_n, struct err *e);
/* client_send and the answer; *ret may be NULL. */
int client_call(const char *name, const char *method, json_t *params, json_t **ret, struct err *e);
/* The root descriptor of a living sandbox and the host ids of its workload. */
int client_root(const char *name, int *ret_root_fd, uint32_t *ret_uid, uint32_t *ret_gid,
		struct err *e);
/* Fills what a result record says; unknown fields are ignored. */
int client_result(const json_t *o, struct result *ret, struct err *e);
