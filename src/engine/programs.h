/* SPDX-License-Identifier: Apache-2.0 */
/* L5: --bin becomes mounts. */
#pragma once

#include "base/err.h"
#include "spec/spec.h"

/*
 * Looks up what the programs of --bin need on this host and puts it before all other mounts of the
 * spec, whose root is "programs" from then on. Does nothing without --bin, or a second time: a
 * clone has the list of its source. 0 or a negative errno with *e set.
 */
int programs_enter(struct spec *s, struct err *e);
