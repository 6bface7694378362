/* SPDX-License-Identifier: Apache-2.0 */
/* Inside lib/: starting keepers. */
#pragma once

#include "engine/clone.h"
#include "spec/spec.h"

/* Starts a keeper and hears its first report. *ret_id holds REGISTRY_ID bytes. hold: the main
 * command waits for method `run`. */
int start_keeper(const struct spec *spec, bool hold, char *ret_id, struct err *e);
/* Starts what makes the keepers of clones (engine/nursery.h). Returns its socket. */
int start_nursery(struct err *e);
