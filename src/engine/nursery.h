/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: the nursery makes the keepers of all clones of one fork. It is a process of its own, executed
 * once (`cleave keeper c`) while the source is still being captured: it reads the spec, the host
 * and the image once, then forks the keepers, as many at a time as there are processors. They share
 * what it read, copy-on-write. It lives until the last one goes on.
 *
 *   client -> nursery: a frame {spec, meta, names} by memfd with image, layer and (root) slot; then
 *   one byte: launch.
 *   nursery -> client: struct keeper_report, index NURSERY_PLANNED when it could be launched,
 *   NURSERY_PARKED when all stand, then one for each clone that went on, in any order. One with an
 *   error before NURSERY_PARKED is the last: no clone exists.
 *
 * A client that goes away before all stand ends them.
 */
#pragma once

#include <jansson.h>

#include "engine/clone.h"

#define NURSERY_PLANNED UINT32_MAX
#define NURSERY_PARKED (UINT32_MAX - 1)

/* Becomes the nursery. Returns the exit status. */
int nursery_main(int client_fd);

/* The client's half. names: JSON array of strings. */
int nursery_order(int nursery_fd, const struct spec *spec, const json_t *names,
		  const struct clone_parts *parts, struct err *e);
int nursery_launch(int nursery_fd, struct err *e);
/* The next report; an error in it becomes *e and a negative errno, *ret is filled then too. */
int nursery_hear(int nursery_fd, struct keeper_report *ret, struct err *e);
