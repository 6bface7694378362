/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes away what a tracer might rely on, says "ready", and goes on for ever without it.
 *
 *   hostile MODE
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *what)
{
	if (syscall(SYS_write, 1, what, strlen(what)) < 0)
		_exit(9);
}

/* A copy of a few instructions at a place of its own: what lies around it can go. */
static char *spin_page(void)
{
	static const unsigned char spin[] = {0xf3, 0x90, 0xeb, 0xfc}; /* pause; jmp */
	char *page = mmap((void *)0x700000000, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	memcpy(page, spin, sizeof(spin));
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
	return page;
}

static void stack_is(uint64_t rsp)
{
	char *page = spin_page();

	say("ready\n");
	__asm__ volatile("mov %%rax, %%rsp; mov %%rax, %%rbp; jmp *%%rcx" ::"a"(rsp), "c"(page));
}

static void vdso_range(uint64_t *start, uint64_t *end)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	*start = *end = 0;
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "[vdso]"))
			sscanf(line, "%lx-%lx", start, end);
}

static void vdso(bool unmap)
{
	uint64_t start, end;

	vdso_range(&start, &end);
	if (unmap)
		munmap((void *)start, end - start);
	else if (mprotect((void *)start, end - start, PROT_READ | PROT_WRITE | PROT_EXEC) == 0)
		memset((void *)start, 0x90, end - start);
	else
		say("refused by the kernel\n");
	say("ready\n");
	for (;;)
		syscall(SYS_getppid);
}

/* From the page: munmap of all below and all above it, then spin there. */
static void everything(void)
{
	static const unsigned char code[] = {
		0xb8, 11,   0,    0,    0,                            /* mov $11, %eax */
		0x31, 0xff,                                           /* xor %edi, %edi */
		0x48, 0xbe, 0,    0,    0,    0,    7,    0,    0, 0, /* movabs, %rsi */
		0x0f, 0x05,                                           /* syscall */
		0xb8, 11,   0,    0,    0,                            /* mov $11, %eax */
		0x48, 0xbf, 0,    0x10, 0,    0,    7,    0,    0, 0, /* movabs, %rdi */
		0x48, 0xbe, 0,    0xe0, 0xff, 0xff, 0xf8, 0x7f, 0, 0, /* movabs, %rsi */
		0x0f, 0x05,                                           /* syscall */
		0xf3, 0x90, 0xeb, 0xfc,                               /* pause; jmp */
	};
	char *page = spin_page();

	mprotect(page, 4096, PROT_READ | PROT_WRITE);
	memcpy(page, code, sizeof(code));
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
	say("ready\n");
	__asm__ volatile("jmp *%0" ::"r"(page));
}

static void no_memory(void)
{
	struct rlimit none = {4096, 4096};

	setrlimit(RLIMIT_AS, &none);
	say("ready\n");
	for (;;)
		syscall(SYS_getppid);
}

static void no_exec_gain(void)
{
	say(prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0) ? "unknown here\n" : "ready\n");
	for (;;)
		syscall(SYS_getppid);
}

static void on_trap(int sig)
{
	(void)sig;
}

static void traps(void)
{
	signal(SIGTRAP, on_trap);
	say("ready\n");
	for (;;)
		__asm__ volatile("int3");
}

/* Each instruction raises SIGTRAP, whose handler returns into the next one. */
static void steps(void)
{
	signal(SIGTRAP, on_trap);
	say("ready\n");
	__asm__ volatile("pushf; orq $0x100, (%rsp); popf");
	for (;;)
		__asm__ volatile("pause");
}

static void flags(void)
{
	char *page = spin_page();

	say("ready\n");
	__asm__ volatile("pushf; orq $0x40400, (%%rsp); popf; jmp *%0" ::"r"(page));
}

static void *executes(void *arg)
{
	execl("/proc/self/exe", "hostile", "again", NULL);
	return arg;
}

/* A thread that is not the first becomes the process, again and again. */
static void again(void)
{
	pthread_t t;

	pthread_create(&t, 0, executes, 0);
	for (;;)
		pause();
}

static void *lives_on(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void leader_exits(void)
{
	pthread_t t;

	pthread_create(&t, 0, lives_on, 0);
	say("ready\n");
	syscall(SYS_exit, 0);
}

static void many_mappings(void)
{
	for (int i = 0; i < 3000; i++)
		mmap(NULL, 4096, i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	say("ready\n");
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (!strcmp(mode, "no stack"))
		stack_is(0);
	if (!strcmp(mode, "stack elsewhere"))
		stack_is(0xdeadbeefdeadbeef);
	if (!strcmp(mode, "stack in the vdso"))
		stack_is(getauxval(AT_SYSINFO_EHDR) + 64);
	if (!strcmp(mode, "no vdso"))
		vdso(true);
	if (!strcmp(mode, "damaged vdso"))
		vdso(false);
	if (!strcmp(mode, "nothing mapped"))
		everything();
	if (!strcmp(mode, "no memory"))
		no_memory();
	if (!strcmp(mode, "no exec gain"))
		no_exec_gain();
	if (!strcmp(mode, "traps"))
		traps();
	if (!strcmp(mode, "steps"))
		steps();
	if (!strcmp(mode, "flags"))
		flags();
	if (!strcmp(mode, "again first"))
		say("ready\n");
	if (!strncmp(mode, "again", 5))
		again();
	if (!strcmp(mode, "leader exits"))
		leader_exits();
	if (!strcmp(mode, "many mappings"))
		many_mappings();
	return 9;
}
