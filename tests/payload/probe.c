/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A static program that tests run inside a sandbox: `probe WORD...`. It does one thing, says what
 * the kernel answered, and judges nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* call NR[:ARG...]...: each call by number with plain numbers as arguments; prints 0, a value or
 * -errno, one a line. Calls that would change this very process run in a child each. */
static int do_call(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		long v[7] = {0}, r;
		char *at = argv[i], *end = at;
		int status;
		pid_t pid;

		for (int k = 0; k < 7 && *at; k++) {
			v[k] = (long)strtoull(at, &end, 0);
			at = end + (*end == ':');
		}
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			r = syscall(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
			printf("%ld\n", r < 0 ? -(long)errno : r);
			fflush(stdout);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			return 1;
		if (WIFSIGNALED(status))
			printf("signal %d\n", WTERMSIG(status));
	}
	return 0;
}

/* clone FLAGS: the raw call, not through libc. */
static int do_clone(int argc, char **argv)
{
	unsigned long flags = argc ? strtoul(argv[0], NULL, 0) : 0;
	long r = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (r == 0)
		_exit(0);
	printf("%ld\n", r < 0 ? -(long)errno : 0);
	return 0;
}

#ifdef __x86_64__
static int tell_end(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		return 1;
	if (WIFSIGNALED(status))
		printf("signal %d\n", WTERMSIG(status));
	else
		printf("ran %d\n", WEXITSTATUS(status));
	return 0;
}

/* int80 NR: a call of the 32-bit table. ran 1: it gave a result that is no error. */
static int do_int80(int argc, char **argv)
{
	long nr = argc ? strtol(argv[0], NULL, 0) : 20;
	pid_t pid = fork();

	if (pid == 0) {
		long r = nr;

		__asm__ volatile("int $0x80" : "+a"(r) : "b"(0L), "c"(0L), "d"(0L) : "memory");
		_exit(r >= 0);
	}
	return tell_end(pid);
}

/* x32 NR: a call with the bit of the x32 table. */
static int do_x32(int argc, char **argv)
{
	long nr = argc ? strtol(argv[0], NULL, 0) : 39;
	pid_t pid = fork();

	if (pid == 0)
		_exit(syscall(nr | 0x40000000L, 0, 0, 0) >= 0);
	return tell_end(pid);
}
#else
#define do_int80 do_clone
#define do_x32 do_clone
#endif

/* fds: every open descriptor, one a line. */
static int do_fds(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	for (int fd = 0; fd < 65536; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf("%d\n", fd);
	return 0;
}

static char idle;

static void *spin(void *arg)
{
	while (!arg)
		;
	pause();
	return NULL;
}

/* bomb: forks in every way it knows, children in sessions of their own, until it is killed. */
static int do_bomb(int argc, char **argv)
{
	pthread_t thread;

	(void)argc;
	(void)argv;
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		pid_t pid = fork();

		if (pid < 0)
			usleep(1000);
		if (pid == 0) {
			setsid();
			if (fork() > 0) /* the middle one goes, the last one has no parent */
				_exit(0);
			pthread_create(&thread, NULL, spin, &idle);
		}
	}
}

/* spew ERR OUT: that many bytes on stderr, then on stdout. */
static int do_spew(int argc, char **argv)
{
	static char block[65536];

	for (int i = 0; i < 2 && i < argc; i++) {
		long long left = strtoll(argv[i], NULL, 0);

		memset(block, i ? 'o' : 'e', sizeof(block));
		while (left > 0) {
			ssize_t n = write(i ? 1 : 2, block,
					  left < (long long)sizeof(block) ? (size_t)left
									  : sizeof(block));

			if (n < 0)
				return 3;
			left -= n;
		}
	}
	return 0;
}

/* signals: says `ready`, then the number of each signal that arrives; SIGTERM ends it with 5. */
static int do_signals(int argc, char **argv)
{
	sigset_t all;

	(void)argc;
	(void)argv;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready\n");
	for (;;) {
		int n;

		sigwait(&all, &n);
		if (n == SIGCHLD || n == SIGCONT)
			continue;
		printf("%d\n", n);
		if (n == SIGTERM)
			return 5;
	}
}

/* Touches its frame and goes deeper; what it gives back keeps the compiler from making a loop. */
static long deeper(long depth)
{
	volatile char frame[65536];

	memset((char *)frame, (int)depth, sizeof(frame));
	return depth < 0 ? 0 : deeper(depth + 1) + frame[depth & 65535];
}

/* fill KIND: memory of that kind until something stops it; fill threads N: N tries, whatever comes.
 */
static int do_fill(int argc, char **argv)
{
	const char *kind = argc ? argv[0] : "heap";
	size_t size = 1 << 20;

	if (strcmp(kind, "stack") == 0)
		return deeper(argc) < 0;
	if (strcmp(kind, "threads") == 0) {
		pthread_attr_t attr;
		pthread_t thread;
		long tries = argc > 1 ? atol(argv[1]) : 0, failed = 0;

		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 65536);
		for (long n = 0; tries ? n < tries : !failed; n++)
			failed += pthread_create(&thread, &attr, spin, &idle) != 0;
		if (tries)
			printf("%ld\n", tries - failed);
		return failed ? 4 : 0;
	}
	for (long n = 0;; n++) {
		char name[64], *p;
		int pair[2], fd;

		if (strcmp(kind, "heap") == 0) {
			p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 -1, 0);
			if (p == MAP_FAILED)
				return 4;
			memset(p, 1, size);
		} else if (strcmp(kind, "shared") == 0) {
			p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
				 0);
			if (p == MAP_FAILED)
				return 4;
			memset(p, 1, size);
		} else if (strcmp(kind, "mlock") == 0) {
			p = mmap(NULL, size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
			if (p == MAP_FAILED)
				return 4;
		} else if (strcmp(kind, "tables") == 0) {
			/* one byte in every 2 MiB: pages, and a page table for each */
			p = mmap(NULL, (size_t)1 << 30, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
			if (p == MAP_FAILED)
				return 4;
			for (size_t at = 0; at < (size_t)1 << 30; at += 2 << 20)
				p[at] = 1;
		} else if (strcmp(kind, "pipe") == 0) {
			if (pipe(pair) < 0)
				return 4;
			fcntl(pair[1], F_SETFL, O_NONBLOCK);
			fcntl(pair[1], F_SETPIPE_SZ, 1 << 20);
			p = calloc(1, size);
			if (write(pair[1], p, size) < 0)
				return 5;
			free(p);
		} else if (strcmp(kind, "tmpfs") == 0) {
			snprintf(name, sizeof(name), "/tmp/fill-%ld", n);
			fd = open(name, O_WRONLY | O_CREAT, 0600);
			p = malloc(size);
			memset(p, 1, size);
			if (fd < 0 || write(fd, p, size) != (ssize_t)size)
				return 4;
			free(p);
			close(fd);
		} else {
			return 2;
		}
	}
}

/* spin N SECONDS: N threads keep processors busy. */
static int do_spin(int argc, char **argv)
{
	int n = argc ? atoi(argv[0]) : 1;
	pthread_t thread;

	for (int i = 1; i < n; i++)
		if (pthread_create(&thread, NULL, spin, NULL) != 0)
			return 4;
	alarm(argc > 1 ? (unsigned)atoi(argv[1]) : 1);
	spin(NULL);
	return 0;
}

/* stop: four processes that stop themselves again and again. */
static int do_stop(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	for (int i = 0; i < 3; i++)
		if (fork() == 0)
			break;
	while (raise(SIGSTOP) == 0)
		;
	return 1;
}

static long cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* scatter N MS stay|leave: N processes in sessions of their own that nobody is the parent of; each
 * burns MS of processor time and ends, or sleeps when MS is 0. Ours stays, or leaves at once. */
static int do_scatter(int argc, char **argv)
{
	int n = argc ? atoi(argv[0]) : 1;
	long ms = argc > 1 ? atol(argv[1]) : 0;
	bool stay = argc < 3 || strcmp(argv[2], "stay") == 0;

	for (int i = 0; i < n; i++) {
		if (fork() == 0) {
			setsid();
			if (fork() != 0)
				_exit(0);
			while (!ms)
				pause();
			while (cpu_ms() < ms)
				;
			_exit(0);
		}
		wait(NULL);
	}
	printf("scattered\n");
	fflush(stdout);
	while (stay)
		pause();
	return 0;
}

/* touch N MIB: N children that live at once touch that much each and say x. */
static int do_touch(int argc, char **argv)
{
	size_t size = (size_t)(argc > 1 ? atoi(argv[1]) : 1) << 20;

	for (int i = 0; i < (argc ? atoi(argv[0]) : 1); i++)
		if (fork() == 0) {
			char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			if (p == MAP_FAILED)
				_exit(1);
			memset(p, 1, size);
			if (write(1, "x", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
	for (;;)
		pause();
}

static const struct {
	const char *word;
	int (*run)(int argc, char **argv);
} words[] = {
	{"call", do_call},   {"clone", do_clone}, {"int80", do_int80}, {"x32", do_x32},
	{"fds", do_fds},     {"bomb", do_bomb},   {"spew", do_spew},   {"signals", do_signals},
	{"fill", do_fill},   {"spin", do_spin},   {"stop", do_stop},   {"scatter", do_scatter},
	{"touch", do_touch},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(argv[1], words[i].word) == 0)
			return words[i].run(argc - 2, argv + 2);
	fprintf(stderr, "probe: one of");
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		fprintf(stderr, " %s", words[i].word);
	fprintf(stderr, "\n");
	return 2;
}
