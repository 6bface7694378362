/* SPDX-License-Identifier: Apache-2.0 */
#include "box/idmap.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "box/keeper.h"
#include "raw/syscall.h"

#define SLOT_DIR "/run/cleave/ids"
#define SLOT_COUNT ((ID_SLOT_END - ID_SLOT_FIRST) / ID_SLOT_SIZE)
#define HELPER_STACK 16384

static int open_slot_dir(struct err *e)
{
	AUTO_FD int fd = -EBADF;
	struct stat st;

	fd = open(SLOT_DIR, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		if ((mkdir("/run/cleave", 0711) < 0 && errno != EEXIST) ||
		    (mkdir(SLOT_DIR, 0700) < 0 && errno != EEXIST))
			return err_set(e, ERR_HOST, errno, "make " SLOT_DIR);
		fd = open(SLOT_DIR, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, ERR_HOST, errno, "open " SLOT_DIR);
	if (st.st_uid != 0 || st.st_mode & 022)
		return err_set(e, ERR_HOST, 0, SLOT_DIR " can be written by others than root");
	return take_fd(&fd);
}

int id_slot_take(uint32_t *ret_base, struct err *e)
{
	AUTO_FD int dir = open_slot_dir(e);

	if (dir < 0)
		return dir;
	for (unsigned i = 0; i < SLOT_COUNT; i++) {
		char name[16];
		AUTO_FD int fd = -EBADF;

		snprintf(name, sizeof(name), "%u", i);
		fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return err_set(e, ERR_HOST, errno, "open " SLOT_DIR "/%s", name);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			if (errno == EWOULDBLOCK)
				continue;
			return err_set(e, ERR_HOST, errno, "lock " SLOT_DIR "/%s", name);
		}
		*ret_base = ID_SLOT_FIRST + i * ID_SLOT_SIZE;
		return take_fd(&fd);
	}
	err_hint(e, "%u sandboxes of root live already", SLOT_COUNT);
	return err_set(e, ERR_HOST, EUSERS, "find a free slot of ids");
}

int keeper_id_slot(struct keeper_side *k)
{
	if (k->q->slot_fd >= 0) {
		k->box->slot_fd = fcntl(k->q->slot_fd, F_DUPFD_CLOEXEC, 3);
		k->box->id_base = k->q->id_base;
	} else {
		k->box->slot_fd = id_slot_take(&k->box->id_base, k->e);
	}
	if (k->box->slot_fd < 0)
		return err_set(k->e, ERR_HOST, errno, "share the slot of ids");
	k->plan->uid_map.outside = k->plan->gid_map.outside = k->box->id_base;
	return 0;
}

static __attribute__((no_sanitize("address", "undefined"), noreturn)) void wait_for_death(void *arg)
{
	(void)arg;
	for (;;)
		SYS0(SYS_pause);
}

static int write_one(int pid, const char *file, uint32_t inside, uint32_t outside, uint32_t count,
		     struct err *e)
{
	char path[64], text[64];
	AUTO_FD int fd = -EBADF;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	snprintf(text, sizeof(text), "%u %u %u", inside, outside, count);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return err_set(e, ERR_HOST, errno, "map ids for a mount");
	return 0;
}

int idmap_userns(uint32_t uid, uint32_t gid, uint32_t to, uint32_t count, struct err *e)
{
	int pidfd = -EBADF, ns = -EBADF, r;
	void *stack = mmap(NULL, HELPER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_PIDFD | CLONE_NEWUSER,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = 0,
		.stack = (uintptr_t)stack,
		.stack_size = HELPER_STACK,
	};
	char path[64];
	long pid;

	if (stack == MAP_FAILED)
		return err_set(e, ERR_INTERNAL, errno, "get a stack");
	pid = raw_clone_call(&args, sizeof(args), wait_for_death, NULL);
	if (pid < 0) {
		munmap(stack, HELPER_STACK);
		return err_set(e, ERR_LAYER, (int)pid, "make a user namespace for a mount");
	}
	r = write_one((int)pid, "uid_map", uid, to, count, e);
	if (r == 0)
		r = write_one((int)pid, "gid_map", gid, to, count, e);
	snprintf(path, sizeof(path), "/proc/%ld/ns/user", pid);
	if (r == 0) {
		ns = open(path, O_RDONLY | O_CLOEXEC);
		if (ns < 0)
			r = err_set(e, ERR_HOST, errno, "open a user namespace");
	}
	SYS4(SYS_pidfd_send_signal, pidfd, SIGKILL, 0, 0);
	while (waitpid((pid_t)pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	munmap(stack, HELPER_STACK);
	close(pidfd);
	return r < 0 ? r : ns;
}
