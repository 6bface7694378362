/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: snapshots/NAME/{image,layer,meta.json,spec.json} of the state directory: what a capture gave,
 * kept on disk, immutable. Written under another name first and renamed when all of it has reached
 * the disk: a power cut leaves it whole, or unfinished and for gc.
 */
#pragma once

#include <stdbool.h>

#include "engine/clone.h"

bool snapshot_exists(const char *name);
int snapshot_save(const char *name, const struct clone_parts *parts, const struct spec *spec,
		  struct err *e);
/* Sealed memfds again; as root a free slot of ids is impossible (the files belong to the old one):
 * see below. */
int snapshot_load(const char *name, struct clone_parts *ret, struct spec *spec, struct err *e);
char *snapshot_list(struct err *e);
int snapshot_remove(const char *name, struct err *e);
/* For gc: removes those that nobody writes any more; appends a line each to *report (malloc'd). */
int snapshot_sweep(char **report, struct err *e);
