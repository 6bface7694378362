/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: one JSON object a frame over SOCK_SEQPACKET, descriptors by SCM_RIGHTS. docs/PROTOCOL.md is
 * normative. A peer is hostile: frames are bounded, the JSON is bounded in depth by jansson,
 * descriptors are counted.
 */
#pragma once

#include <jansson.h>

#define FRAME_MAX 65536
#define FRAME_FDS 4
#define FRAME_VERSION 1

/* Sends without waiting. 0, -EAGAIN when the peer does not read, -EMSGSIZE, or another negative
 * errno. */
int frame_send(int fd, const json_t *o, const int *fds, int n_fds);
/*
 * Receives one frame. 1: *ret is a new object, *ret_n descriptors are in fds; 0: end of file;
 * -EAGAIN; -EPROTO: no JSON object, too large, or another version; -EMFILE, -ENOMEM: there is no
 * room for what came (descriptors are closed).
 */
int frame_receive(int fd, json_t **ret, int fds[FRAME_FDS], int *ret_n);
