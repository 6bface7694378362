/* SPDX-License-Identifier: Apache-2.0 */
/* L5: what `cleave doctor` says: probes of this host, judged by layer, as text or JSON. */
#pragma once

#include <stdbool.h>

/*
 * Probes everything (milliseconds, short-lived children) and returns malloc'd text: for people,
 * with a newline at the end, or one JSON object in one line without. *ret_bad: how many layers are
 * not on. NULL when out of memory. A host that can't run a sandbox is no error: the text says so.
 *
 * JSON: {schema: 1, version, kernel, uid, ok, layers: {NAME: {state, how, remedy}}, features:
 * {NAME: {state: present|absent|unknown, need: required|layer|fork|extra, since, errno, how, lost,
 * remedy}}}; every field is always there, null where there is nothing to say.
 */
char *doctor_report(bool json, unsigned *ret_bad);
