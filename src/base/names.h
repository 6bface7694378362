/* SPDX-License-Identifier: Apache-2.0 */
/* Names of kernel numbers. */
#pragma once

/* "ENOENT"; NULL when code is none. */
const char *name_of_errno(int code);
/* "TERM"; NULL when signo is none or a real-time signal. */
const char *name_of_signal(int signo);
