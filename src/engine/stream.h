/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: the client's side of exec and attach: relays the caller's descriptors to a command behind a
 * keeper until its result comes.
 */
#pragma once

#include "engine/client.h"
#include "engine/relay.h"
#include "spec/spec.h"

struct stream_io {
	int stdin_fd, stdout_fd, stderr_fd; /* -1: none */
	bool forward_signals;
};

/* Runs spec's command in the sandbox; fills *result. Negative errno when no result could be had. */
int stream_exec(const char *name, const struct spec *spec, const struct stream_io *io,
		struct result *result, struct err *e);
/* The main command of a sandbox that is held for us (`run --name`); it ends when we do. */
int stream_run(const char *name, const struct spec *spec, const struct stream_io *io,
	       struct result *result, struct err *e);
/* 1: detached by ctrl-p ctrl-q, *result untouched; 0: it ended. */
int stream_attach(const char *name, const struct stream_io *io, struct result *result,
		  struct err *e);
