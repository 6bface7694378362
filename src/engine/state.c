/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/state.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "engine/keeper.h"

static const struct {
	const char *name, *truth;
} states[STATE_N] = {
#define STATE(id, name, truth) [STATE_##id] = {name, truth},
#include "engine/state.def"
#undef STATE
};

static const char *const events[EVENT_N] = {
#define EVENT(id, name) [EVENT_##id] = name,
#include "engine/state.def"
#undef EVENT
};

static const struct {
	int (*action)(struct keeper *, struct err *);
	enum state next;
} moves[STATE_N][EVENT_N] = {
#define ON(state, event, next, action) \
	[STATE_##state][EVENT_##event] = {action_##action, STATE_##next},
#include "engine/state.def"
#undef ON
};

const char *state_name(enum state s)
{
	return states[s].name;
}

const char *state_truth(enum state s)
{
	return states[s].truth;
}

const char *event_name(enum event ev)
{
	return events[ev];
}

/* What each state's line in state.def claims, as far as this process can see it. */
static void check(const struct keeper *k)
{
	assert(k->journal.dir_fd >= 0);
	switch (k->state) {
	case STATE_RUNNING:
	case STATE_PAUSED:
		assert(k->box.pidfd >= 0 && k->box.sock_fd >= 0);
		break;
	case STATE_EXITED:
		assert(k->box.pidfd < 0 && k->box.cgroup.dir_n == 0);
		break;
	default:
		break;
	}
}

int keeper_event(struct keeper *k, enum event ev, struct err *e)
{
	struct err late = ERR_INIT;
	enum state was = k->state;
	int r;

	if (!moves[was][ev].action) {
		err_set(e, ERR_STATE, 0, "the sandbox is %s: it can't %s", state_name(was),
			event_name(ev));
		return -EBADFD;
	}
	r = moves[was][ev].action(k, e);
	if (r < 0)
		return r;
	k->state = moves[was][ev].next;
	check(k);
	/* a state file that can't be written is reported by the next reader; the sandbox goes on */
	ignore_err(keeper_publish(k, &late), "the disk may be full");
	if (k->state != was)
		keeper_publish_event(k, state_name(k->state), NULL);
	return 0;
}
