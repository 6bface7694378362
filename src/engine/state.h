/* SPDX-License-Identifier: Apache-2.0 */
/* L5: the states of a sandbox as C. The table is state.def. */
#pragma once

#include "base/err.h"

enum state {
#define STATE(id, name, truth) STATE_##id,
#include "engine/state.def"
#undef STATE
	STATE_N
};

enum event {
#define EVENT(id, name) EVENT_##id,
#include "engine/state.def"
#undef EVENT
	EVENT_N
};

struct keeper;

const char *state_name(enum state s);
const char *state_truth(enum state s);
const char *event_name(enum event ev);

/*
 * Carries the event out: the table's action, then the move. The only writer of the state. -EBADFD
 * (ERR_STATE) when the table has no such move; an action that fails leaves the state as it was.
 */
int keeper_event(struct keeper *k, enum event ev, struct err *e);
