/* SPDX-License-Identifier: Apache-2.0 */
/* Inside box/: what the keeper's rows share. */
#pragma once

#include "box/box.h"

struct keeper_side {
	const struct box_request *q;
	struct plan *plan;
	struct box *box;
	struct result *result; /* NULL: not wanted */
	struct cgroup_join join;
	int init_sock_fd; /* init's end */
	int plan_fd, exe_fd;
	struct err *e;
};

#define KEEPER(fn) int fn(struct keeper_side *k);
#define MEET(fn)
#define INIT(fn)
#define COMMAND(fn)
#define S(id, who, fn, after, needs, why) who(fn)
#include "box/launch.def"
#undef S
#undef KEEPER
#undef MEET
#undef INIT
#undef COMMAND

/* The descriptors of a clone, behind GO. Returns 0 or a negative errno. */
int box_restore_send(struct box *b, const struct box_restore *x);
/* The files by which init joins its v1 cgroups. */
int box_join_send(struct box *b, const struct cgroup_join *j);

/* A sealed memfd with these bytes. */
int box_memfd(const char *name, const void *data, size_t size, bool executable, struct err *e);

#ifdef CLEAVE_DEV
/* CLEAVE_TEST_FAIL / CLEAVE_TEST_STOP name this row. 0 or a negative errno. */
int keeper_test_row(const struct plan *p, const char *row);
#else
#define keeper_test_row(p, row) 0
#endif
