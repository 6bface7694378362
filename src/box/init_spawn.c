/* SPDX-License-Identifier: Apache-2.0 */
/* What init needs to start a command: its terminal, and the child itself. Freestanding. */
#include "box/init.h"

#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>

#include "raw/signals.h"

#define SIGCHLD_ 17
#define TIOCSPTLCK_ 0x40045431
#define TIOCGPTPEER_ 0x5441
#define TIOCSWINSZ_ 0x5414

long init_terminal(const struct cmd *cmd, int *ret_slave)
{
	int unlock = 0;
	struct {
		uint16_t rows, cols, x, y;
	} size = {cmd->rows, cmd->cols, 0, 0};
	long master, slave, r;

	/* the node's owner is the file system uid of whoever opens the master */
	(void)SYS1(SYS_setfsuid, cmd->uid);
	master = SYS3(SYS_openat, AT_FDCWD, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	(void)SYS1(SYS_setfsuid, (uint32_t)SYS0(SYS_geteuid));
	/* both are lost with any change of ids; a keeper that died in between ends the socket */
	r = raw_prctl(PR_SET_PDEATHSIG, SIGKILL_, 0, 0, 0);
	if (r == 0)
		r = raw_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (r < 0 && master >= 0)
		(void)raw_close((int)master);
	if (r < 0 || master < 0)
		return r < 0 ? r : master;
	/* if it stays locked, the next call fails */
	(void)SYS3(SYS_ioctl, master, TIOCSPTLCK_, &unlock);
	/* not O_CLOEXEC: this call would keep it in the file, where /proc shows it for every copy;
	 * whom we fork closes what it does not know */
	slave = SYS3(SYS_ioctl, master, TIOCGPTPEER_, O_RDWR | O_NOCTTY);
	if (slave < 0) {
		(void)raw_close((int)master);
		return slave;
	}
	/* a terminal of the wrong size is still one */
	(void)SYS3(SYS_ioctl, master, TIOCSWINSZ_, &size);
	*ret_slave = (int)slave;
	return master;
}

long init_fork(int into_fd)
{
	struct clone_args args = {.exit_signal = SIGCHLD_};

	if (into_fd < 0)
		return SYS5(SYS_clone, SIGCHLD_, 0, 0, 0, 0);
	args.flags = CLONE_INTO_CGROUP;
	args.cgroup = (uint64_t)into_fd;
	return SYS2(SYS_clone3, &args, sizeof(args));
}
