/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launch table as C: ids, names, the compile-time check of its order, and the record of a walk.
 * Freestanding: included by the keeper's side, by init and by commands.
 */
#pragma once

#include <stdint.h>

#include "plan/plan.h"

enum step {
#define S(id, ...) STEP_##id,
#include "box/launch.def"
#undef S
	STEP_N
};

enum step_side { SIDE_KEEPER, SIDE_INIT, SIDE_MEET, SIDE_COMMAND };

/* Prerequisites are earlier rows: a row out of order does not compile, and the row is named. */
#define FIRST 0
#define AFTER(id) (STEP_##id + 1)
#define S(id, who, fn, after, needs, why) \
	_Static_assert(STEP_##id >= (after), #id " is listed before its prerequisite");
#include "box/launch.def"
#undef S
#undef FIRST
#undef AFTER

/* One step that was walked. */
struct step_trace {
	uint16_t step;
	uint16_t side;
	uint32_t ns;
};

/* Why a walk ended early. object: index of the plan's entry, or -1. */
struct step_fault {
	int32_t step;
	int32_t err; /* negative errno */
	int32_t object;
};
