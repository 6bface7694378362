/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deny NUMBER ERRNO [ARG VALUE] PROGRAM...: runs a program that does not have one system call, on
 * this host and in whatever it starts: the call answers ERRNO, as on a kernel without it. With ARG
 * and VALUE only where the low half of that argument is VALUE (an operation of ioctl, prctl,
 * madvise ...).
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 0);
}

int main(int argc, char **argv)
{
	const int by_argument = argc > 5 && argv[3][0] >= '0' && argv[3][0] <= '5' && !argv[3][1];
	struct sock_filter insns[] = {
		{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr)},
		{BPF_JMP | BPF_JEQ | BPF_K, 0, 3, argc > 1 ? number(argv[1]) : 0},
		{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, args)},
		{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0},
		{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO},
		{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
	};
	struct sock_fprog prog = {sizeof(insns) / sizeof(insns[0]), insns};

	if (argc < 4) {
		fprintf(stderr, "usage: deny NUMBER ERRNO [ARG VALUE] PROGRAM...\n");
		return 2;
	}
	insns[4].k |= number(argv[2]) & 0xfff;
	if (by_argument) {
		insns[2].k += 8 * number(argv[3]);
		insns[3].k = number(argv[4]);
	} else {
		insns[3].jf = 0; /* whatever it is */
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog)) {
		perror("deny");
		return 2;
	}
	argv += by_argument ? 5 : 3;
	execv(argv[0], argv);
	fprintf(stderr, "deny: %s: %s\n", argv[0], strerror(errno));
	return 2;
}
