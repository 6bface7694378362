/* SPDX-License-Identifier: Apache-2.0 */
/* L5: the caller's terminal while a command with a terminal of its own runs behind it. */
#pragma once

#include <stdbool.h>

/* Raw mode on fd if it is a terminal; remembers what it was, restores it at exit too. Idempotent.
 */
void tty_raw(int fd);
void tty_restore(void);
/* Gives the window size of `from` to `to`; nothing happens when either is no terminal. */
void tty_copy_size(int from, int to);
/* Rows and columns of fd, 24 x 80 when it is no terminal. */
void tty_size(int fd, unsigned short *ret_rows, unsigned short *ret_cols);
