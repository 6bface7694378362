/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread sleeps in the middle of a restartable sequence and begins it anew whenever it was
 * aborted. It must never come to its end: who was elsewhere in between may not commit. The line N
 * is answered, when it was begun N times, by how often it came to its end.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/rseq.h>
#include <time.h>
#include <unistd.h>

static struct timespec long_time = {1000000, 0};
static volatile int begun, ended;

/* 1: came to its end. Calls are not for such a place, but the kernel lets one through. */
static int section(uint64_t *cs)
{
	int end = 0;

	__asm__ volatile(".pushsection .data\n"
			 ".balign 32\n"
			 "9:	.long 0, 0\n"
			 "	.quad 1f, 2f - 1f, 3f\n"
			 ".popsection\n"
			 "	lea 9b(%%rip), %%rax\n"
			 "	mov %%rax, (%[cs])\n"
			 "1:	mov $35, %%eax\n"
			 "	lea %[time], %%rdi\n"
			 "	xor %%esi, %%esi\n"
			 "	syscall\n"
			 "	movl $1, %[end]\n"
			 "2:	jmp 4f\n"
			 "	.long 0x53053053\n"
			 "3:	movl $0, %[end]\n"
			 "4:\n"
			 : [end] "+m"(end)
			 : [cs] "r"(cs), [time] "m"(long_time)
			 : "rax", "rdi", "rsi", "rcx", "r11", "memory");
	return end;
}

static void *sleeps(void *arg)
{
	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	for (;;) {
		begun++;
		ended += section((uint64_t *)&area->rseq_cs);
	}
	return arg;
}

int main(void)
{
	char line[80];
	pthread_t t;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!__rseq_size)
		return 77;
	pthread_create(&t, 0, sleeps, 0);
	while (fgets(line, sizeof(line), stdin)) {
		for (int wait = 0; begun < atoi(line) && wait < 20000; wait++)
			usleep(1000);
		printf("begun %d ended %d\n", begun >= atoi(line), ended);
	}
	return 0;
}
