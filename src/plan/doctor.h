/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L3: what the probes mean for the layers of a sandbox: the rows of `cleave doctor`. Pure. The
 * layers are the ones of result.layers, under the same names.
 */
#pragma once

#include "kern/probe.h"
#include "spec/result.h"

/*
 * Fills rows[0..LAYER_N): on (how: in what form), or off or degraded, with what was seen in `how`
 * and in `remedy` the line that mends it. Returns how many are not on.
 */
unsigned plan_doctor(const struct probe *p, struct result_layer rows[LAYER_N]);
