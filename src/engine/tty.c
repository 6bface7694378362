/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tty.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static int saved_fd = -1;

void tty_restore(void)
{
	if (saved_fd >= 0)
		tcsetattr(saved_fd, TCSADRAIN, &saved);
	saved_fd = -1;
}

void tty_raw(int fd)
{
	static bool registered;
	struct termios raw;

	if (saved_fd >= 0 || tcgetattr(fd, &saved) < 0)
		return;
	raw = saved;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSADRAIN, &raw) < 0)
		return;
	saved_fd = fd;
	if (!registered)
		registered = atexit(tty_restore) == 0;
}

void tty_copy_size(int from, int to)
{
	struct winsize size;

	if (ioctl(from, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col)
		ioctl(to, TIOCSWINSZ, &size);
}

void tty_size(int fd, unsigned short *ret_rows, unsigned short *ret_cols)
{
	struct winsize size;

	*ret_rows = 24;
	*ret_cols = 80;
	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col) {
		*ret_rows = size.ws_row;
		*ret_cols = size.ws_col;
	}
}
