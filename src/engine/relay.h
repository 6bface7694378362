/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: one direction of a byte stream between a sandbox and the host, driven by poll. Never blocks
 * on the receiver, never changes the flags of descriptors that belong to the caller. Splices where
 * the kernel can.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/result.h"

#define RELAY_BUFFER 65536

struct relay {
	int in_fd;            /* -1: finished */
	int out_fd;           /* -1: nobody listens; what comes is dropped */
	bool own_in, own_out; /* close them at the end */
	bool in_is_tty;
	bool splices;
	/* Not closed at the end of the stream but kept in held_fd (0: none) until relay_release. */
	bool hold_in, hold_out;
	int held_fd;
	bool closes_out;               /* end of file at `in` is passed on by closing `out` */
	struct result_stream *capture; /* also keep it here, up to capture_max */
	size_t capture_max;
	uint64_t *budget; /* shared by several relays; *over is set when it is used up */
	bool *over;
	/* this one's own; own_over NULL: it has none */
	uint64_t own_budget;
	bool *own_over;
	bool *detached; /* set when ctrl-p ctrl-q was read, which is not passed on; NULL: no such
			   keys */
	bool key_held;  /* a ctrl-p that waits for its successor */
	int error;      /* errno of a failed write other than EPIPE */
	size_t at, len;
	char *buffer;
};

/* in and out as described; buffer is allocated on first need. */
void relay_start(struct relay *r, int in_fd, int out_fd);
/* What to wait for; events 0 when it is finished. Fills up to two entries, returns how many. */
int relay_poll(const struct relay *r, struct pollfd *ret);
/* Moves what can be moved now, given what poll said of the two descriptors. */
void relay_move(struct relay *r, short in_events, short out_events);
bool relay_finished(const struct relay *r);

/* The three streams of a command: in, out, err. Up to RELAY_POLL entries, those of stream i from
 * ret_at[i] on, -1: none. input: stdin as well. Returns how many. */
#define RELAY_POLL 6
int relay_poll_command(const struct relay relay[3], bool input, struct pollfd *ret, int ret_at[3]);
void relay_move_command(struct relay relay[3], struct pollfd *p, const int at[3]);
/* From now on nothing is held, and what was is closed. */
void relay_release(struct relay *r);
void relay_end(struct relay *r);
