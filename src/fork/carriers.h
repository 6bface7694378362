/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switches of carriers.def. In a release carrier_off() is false for the compiler and nothing of
 * the rest exists.
 */
#pragma once

#include "image/image.h"

#ifdef CLEAVE_DEV
#include <stdbool.h>

enum carrier {
#define CARRIER(id, name, without) CARRIER_##id,
#include "fork/carriers.def"
#undef CARRIER
	CARRIER_N
};

/* Does CLEAVE_TEST_WITHOUT say carrier:NAME (raw/without.h)? */
bool carrier_off(enum carrier c);
/* The row of raw/restore.def that it names by restore:ROW; RESTORE_STEP_N: none. */
uint32_t restore_row_off(void);
/* The one that CLEAVE_TEST_STOP names. */
uint32_t restore_row_stop(void);
/* The image as it would be without what is switched off; *ret is freed by carriers_cut_done(). */
const struct image *carriers_cut(const struct image *im, struct image *ret);
void carriers_cut_done(struct image *cut);
#else
#define carrier_off(c) false
static inline const struct image *carriers_cut(const struct image *im, struct image *ret)
{
	(void)ret;
	return im;
}
static inline void carriers_cut_done(struct image *cut)
{
	(void)cut;
}
#endif
