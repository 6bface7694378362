/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: the kept output of a sandbox's main command: `log` and, one generation back, `log.1`.
 * Bounded; what does not fit pushes the oldest half out. What a full disk does not take is lost.
 * Records: "REALTIME_NS o|e LENGTH\n" BYTES
 * "\n".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTPUT_LOG_BYTES (8u << 20) /* of one file */

struct output_log {
	int dir_fd; /* borrowed */
	int fd;
	uint64_t size;
};

void output_open(struct output_log *l, int dir_fd);
void output_write(struct output_log *l, char stream, const char *data, size_t n);
void output_close(struct output_log *l);

/*
 * Writes what was kept since since_ns to the descriptors. follow: goes on until `ended` says so.
 * Returns 0 or a negative errno of a descriptor that can't be written.
 */
int output_copy(int dir_fd, uint64_t since_ns, bool follow, bool (*ended)(void *), void *arg,
		int out_fd, int err_fd);
