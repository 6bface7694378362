/* SPDX-License-Identifier: Apache-2.0 */
/* Inside lib/: the handles and the thread's last error. */
#pragma once

#include "base/err.h"
#define CLEAVE_INTERNAL 1
#include "cleave/cleave.h"
#include "spec/result.h"
#include "spec/spec.h"

#define EXPORT __attribute__((visibility("default")))

struct cleave_spec {
	struct spec s;
};

struct cleave_result {
	struct result r;
	char message[1024];
};

/* The record that cleave_error() speaks of: cleared and returned, for the call that begins. */
struct err *lib_error(void);

/* Checks and completes the spec of a launch: what is left out, what --bin needs. */
int lib_spec_ready(const cleave_spec *spec, struct err *e);
/* The line for people about how it ended. */
void lib_result_message(struct cleave_result *res);
/* For output_copy: arg is an int *, the state directory. */
bool lib_has_ended(void *dir_fd);
/* Removes the state of a sandbox whose keeper is gone, and what its journal names. */
int lib_forget(const char *id, struct err *e);
