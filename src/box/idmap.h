/* SPDX-License-Identifier: Apache-2.0 */
/* Inside box/: slots of host ids and user namespaces that only carry a mapping. */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define ID_SLOT_FIRST 0x70000000u
#define ID_SLOT_END 0x7FFE0000u
#define ID_SLOT_SIZE 65536u

/* Takes a free slot: returns a locked descriptor, *ret_base its first id. Negative errno with *e.
 */
int id_slot_take(uint32_t *ret_base, struct err *e);

/*
 * A user namespace for idmapped mounts in which what belongs to (uid, gid) on disk belongs to
 * (to, to) of the host, and so on for `count` ids. Returns its descriptor.
 */
int idmap_userns(uint32_t uid, uint32_t gid, uint32_t to, uint32_t count, struct err *e);
