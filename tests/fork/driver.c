/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives the fork engine without the launcher: a trivial init in fresh namespaces, a program below
 * it, and commands on standard input. A test program of the development build, never installed.
 *
 *   driver [--filter] [--freezer CGROUP] PROGRAM ARGUMENT...
 *
 * --freezer: a directory of a v1 freezer hierarchy or of v2; the source joins it.
 *
 *   ask source|N TEXT   write a line to its stdin, print the line that it answers
 *   tell source|N TEXT  write a line only
 *   read source|N       print the next line that it writes
 *   freeze, thaw        the source, as a paused sandbox is
 *   capture             replace the image by a new one of the source
 *   capture N           ... of clone N
 *   fork [ROW[:ERRNO]]  a new clone of the image; with an argument, that row of the restore fails
 *   layers N            what confines the clone's root tasks, and its writable+executable mappings
 *   eof source|N        close its stdin
 *   wait source|N       wait for the first root task: its exit status
 *   signal source|N S   send a signal to its first root task
 *   without [LIST]      captures and forks from now on are made without carrier:NAME,...
 *
 * Every command is answered by one line; errors begin with "error".
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/fork.h"
#include "raw/restore_init.h"

#define MAX_BOXES 128
#define NAMESPACES \
	(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET)
#define REPLY_MS 20000

struct box {
	pid_t init;
	int in_fd, out_fd; /* the workload's stdin and stdout */
	int status_fd;     /* init writes a report, then the exit status */
	struct restore_report report;
};

static struct box boxes[MAX_BOXES]; /* 0 is the source */
static int n_boxes;
static bool as_root, with_filter;
static struct fork_image image;
static int image_fd = -EBADF;
static const char *freezer; /* directory */
static bool freezer_v1, paused;

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "driver: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static struct sock_filter allow_all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static void cgroup_write(const char *file, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", freezer, file);
	write_file(path, text);
}

/* Waits until the file holds `text`; both versions get there by themselves. */
static int cgroup_await(const char *file, const char *text)
{
	char path[512], state[128];

	snprintf(path, sizeof(path), "%s/%s", freezer, file);
	for (int i = 0; i < 5000; i++) {
		FILE *f = fopen(path, "re");
		size_t n = f ? fread(state, 1, sizeof(state) - 1, f) : 0;

		if (f)
			fclose(f);
		state[n] = 0;
		if (strstr(state, text))
			return 0;
		usleep(1000);
	}
	return -ETIMEDOUT;
}

static int freeze(void *arg)
{
	(void)arg;
	cgroup_write(freezer_v1 ? "freezer.state" : "cgroup.freeze", freezer_v1 ? "FROZEN" : "1");
	return freezer_v1 ? cgroup_await("freezer.state", "FROZEN")
			  : cgroup_await("cgroup.events", "frozen 1");
}

static int thaw(void *arg)
{
	(void)arg;
	cgroup_write(freezer_v1 ? "freezer.state" : "cgroup.freeze", freezer_v1 ? "THAWED" : "0");
	return freezer_v1 ? cgroup_await("freezer.state", "THAWED")
			  : cgroup_await("cgroup.events", "frozen 0");
}

static void ids_map(pid_t pid)
{
	char path[64], line[64];

	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	snprintf(line, sizeof(line), as_root ? "0 0 65536" : "1000 %d 1", geteuid());
	write_file(path, line);
	if (!as_root) {
		snprintf(path, sizeof(path), "/proc/%d/setgroups", pid);
		write_file(path, "deny");
	}
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	snprintf(line, sizeof(line), as_root ? "0 0 65536" : "1000 %d 1", getegid());
	write_file(path, line);
}

static void drop(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {0};
	struct sock_fprog program = {1, allow_all};

	for (int i = 0; i < 64; i++)
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) && errno != EINVAL)
			die("bounding set");
	if (as_root && (syscall(SYS_setgroups, 0, NULL) || setresgid(1000, 1000, 1000) ||
			setresuid(1000, 1000, 1000)))
		die("ids");
	if (syscall(SYS_capset, &head, none) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("capabilities");
	if (with_filter && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		die("seccomp");
}

/* What an init of our own would not have: glibc's rseq area, which the kernel writes to. */
static void rseq_unregister(void)
{
	char *area = (char *)__builtin_thread_pointer() + __rseq_offset;

	if (__rseq_size && syscall(334, area, 32, 1 /* UNREGISTER */, RSEQ_SIG))
		die("rseq");
}

static void init_setup(int ready_fd)
{
	char c;

	if (read(ready_fd, &c, 1) != 1)
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		die("mount");
	rseq_unregister();
}

/* Reaps for ever; tells the exit status of the first root task. */
_Noreturn static void init_loop(pid_t first, int status_fd)
{
	int status;

	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);

		if (pid == first && write(status_fd, &status, sizeof(status)) < 0)
			_exit(1);
		if (pid < 0 && errno == ECHILD)
			_exit(0);
	}
}

_Noreturn static void init_start(const struct box *b, int in, int out, char **argv)
{
	struct restore_report report = {0};
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		if (dup2(in, 0) < 0 || dup2(out, 1) < 0 ||
		    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2) < 0 || chdir("/"))
			die("dup2");
		if (!getenv("DRIVER_FDS") && close_range(3, ~0u, 0))
			die("close_range");
		drop();
		signal(SIGPIPE, SIG_DFL);
		execv(argv[0], argv);
		die(argv[0]);
	}
	close(in);
	close(out);
	if (write(b->status_fd, &report, sizeof(report)) < 0)
		_exit(1);
	init_loop(pid, b->status_fd);
}

_Noreturn static void init_restore(const struct box *b, int in, int out, int plan_fd)
{
	struct restore_request q = {.plan_fd = plan_fd,
				    .image_fd = image_fd,
				    .stdio_fd = {in, out, 2},
				    .vdso = getauxval(AT_SYSINFO_EHDR)};
	struct restore_report report;
	struct restore_tree tree;
	struct timespec now;
	pid_t first;

	clock_gettime(CLOCK_MONOTONIC, &now);
	q.deadline_ns =
		(uint64_t)(now.tv_sec + 60) * 1000000000u; /* busy sources share our processors */
	if (restore_tree_build(&tree, &q, &report)) {
		if (write(b->status_fd, &report, sizeof(report)) < 0)
			_exit(1);
		_exit(1);
	}
	first = restore_tree_root(&tree, 0);
	close(in);
	close(out);
	close(plan_fd);
	close(image_fd);
	restore_tree_go(&tree);
	if (write(b->status_fd, &report, sizeof(report)) < 0)
		_exit(1);
	init_loop(first, b->status_fd);
}

/* A sandbox: with argv the source, without a clone of the plan. Returns its number, or -1. */
static int box_make(char **argv, int plan_fd)
{
	struct clone_args a = {.flags = NAMESPACES, .exit_signal = SIGCHLD};
	struct box *b = &boxes[n_boxes];
	int in[2], out[2], status[2], ready[2];

	if (n_boxes == MAX_BOXES || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) ||
	    pipe2(status, O_CLOEXEC) || pipe2(ready, O_CLOEXEC))
		die("pipe");
	b->status_fd = status[1];
	b->init = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (b->init < 0)
		die("clone3");
	if (b->init == 0) {
		close(in[1]);
		close(out[0]);
		close(ready[1]);
		for (int i = 0; i < n_boxes; i++) { /* there is no exec that would */
			close_fd(&boxes[i].in_fd);
			close_fd(&boxes[i].out_fd);
			close_fd(&boxes[i].status_fd);
		}
		init_setup(ready[0]);
		if (argv)
			init_start(b, in[0], out[1], argv);
		init_restore(b, in[0], out[1], plan_fd);
	}
	ids_map(b->init);
	if (argv && freezer) {
		char pid[16];

		snprintf(pid, sizeof(pid), "%d", b->init);
		cgroup_write("cgroup.procs", pid);
	}
	close(in[0]);
	close(out[1]);
	close(status[1]);
	close(ready[0]);
	if (write(ready[1], "x", 1) != 1)
		die("start");
	close(ready[1]);
	b->in_fd = in[1];
	b->out_fd = out[0];
	b->status_fd = status[0];
	if (read(b->status_fd, &b->report, sizeof(b->report)) != sizeof(b->report))
		b->report.error = EPROTO;
	return n_boxes++;
}

static void box_drop(struct box *b)
{
	close_fd(&b->in_fd);
	close_fd(&b->out_fd);
	close_fd(&b->status_fd);
	if (b->init > 0) {
		kill(b->init, SIGKILL);
		waitpid(b->init, NULL, 0);
	}
	b->init = 0;
}

static void answer_error(const struct err *e)
{
	char line[1200];

	err_format(e, line, sizeof(line));
	printf("error %s %s %s: %s\n", err_name(e->id), err_symbol(e->code), e->step, line);
}

static void read_line(struct box *b)
{
	char line[65536];
	size_t n = 0;

	while (n < sizeof(line) - 1) {
		struct pollfd p = {b->out_fd, POLLIN, 0};

		if (poll(&p, 1, REPLY_MS) <= 0) {
			printf("error timeout\n");
			return;
		}
		if (read(b->out_fd, line + n, 1) != 1) {
			printf("error eof\n");
			return;
		}
		if (line[n++] == '\n')
			break;
	}
	line[n] = 0;
	fputs(line, stdout);
}

static void capture(struct box *b)
{
	struct fork_source src = {.init_pid = b->init, .filters = -1};
	struct fork_capture c;
	struct fork_tracer t;
	struct err e = ERR_INIT;
	int r;

	if (freezer && b == boxes) {
		src.freeze = freeze;
		src.thaw = thaw;
		src.paused = paused;
	}
	r = fork_tracer_start(&src, &t, &e);
	if (r == 0)
		r = fork_tracer_finish(&t, &c, &e);
	if (r < 0) {
		answer_error(&e);
		return;
	}
	fork_image_close(&image);
	close_fd(&image_fd);
	image_fd = c.image_fd;
	c.image_fd = -EBADF;
	if (fork_image_open(image_fd, &image, &e) < 0) {
		answer_error(&e);
		return;
	}
	printf("captured processes=%u threads=%u maps=%u fds=%u pages=%llu runs=%llu "
	       "paused_us=%llu",
	       c.processes, c.threads, c.maps, c.descriptors, (unsigned long long)c.pages,
	       (unsigned long long)c.runs, (unsigned long long)c.paused_ns / 1000);
	for (int i = 0; i < FORK_ROW_N; i++)
		printf(" %s=%llu", fork_row_name((enum fork_row)i),
		       (unsigned long long)c.row_ns[i] / 1000);
	for (size_t i = 0; i < c.recreated.n; i++)
		printf(" [%s]", c.recreated.line[i]);
	printf("\n");
	fork_capture_done(&c);
}

static void fork_clone(const char *fail)
{
	struct fork_confine confine = {.uid = 1000,
				       .gid = 1000,
				       .keep_ids = !as_root,
				       .dumpable = 1,
				       .filter = allow_all,
				       .filter_n = with_filter};
	struct err e = ERR_INIT;
	struct timespec t0, t1;
	struct fork_plan plan;
	int n;

	if (fork_plan_make(&image, &confine, fail, &plan, &e) < 0) {
		answer_error(&e);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	n = box_make(NULL, plan.fd);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	if (boxes[n].report.error) {
		fork_report_error(&boxes[n].report, &image, &e);
		answer_error(&e);
		box_drop(&boxes[n]);
	} else {
		printf("clone %d ops=%u plan_us=%llu open_us=%llu spawn_us=%llu map_us=%llu "
		       "all_us=%lld\n",
		       n, plan.ops, (unsigned long long)plan.build_ns / 1000,
		       (unsigned long long)boxes[n].report.open_ns / 1000,
		       (unsigned long long)boxes[n].report.spawn_ns / 1000,
		       (unsigned long long)boxes[n].report.map_ns / 1000,
		       (long long)(t1.tv_sec - t0.tv_sec) * 1000000 +
			       (t1.tv_nsec - t0.tv_nsec) / 1000);
	}
	fork_plan_done(&plan);
}

static pid_t root_task(const struct box *b)
{
	char path[64], text[4096];
	FILE *f;
	long pid = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", b->init, b->init);
	f = fopen(path, "re");
	if (f && fgets(text, sizeof(text), f))
		pid = atol(text);
	if (f)
		fclose(f);
	return (pid_t)pid;
}

static void layers(const struct box *b)
{
	static const char *const keys[] = {
		"CapInh:",  "CapPrm:",          "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:",
		"Seccomp:", "Seccomp_filters:", "Uid:",    "Gid:",    "Groups:", "Umask:"};
	char path[64], line[4096];
	pid_t pid = root_task(b);
	int wx = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		for (size_t i = 0; i < ARRAY_LEN(keys); i++)
			if (!strncmp(line, keys[i], strlen(keys[i]))) {
				line[strcspn(line, "\n")] = 0;
				printf("%s ", line);
			}
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		wx += strstr(line, "wx") != NULL;
	if (f)
		fclose(f);
	printf("wx=%d\n", wx);
}

static void wait_status(struct box *b)
{
	int status;

	if (read(b->status_fd, &status, sizeof(status)) != sizeof(status))
		printf("error eof\n");
	else if (WIFSIGNALED(status))
		printf("signal %d\n", WTERMSIG(status));
	else
		printf("exit %d\n", WEXITSTATUS(status));
}

static struct box *box_of(const char *word)
{
	int n = word && strcmp(word, "source") ? atoi(word) : 0;

	return n >= 0 && n < n_boxes && boxes[n].init ? &boxes[n] : NULL;
}

static void command(char *line)
{
	char *verb = strtok(line, " \n"), *who = strtok(NULL, " \n"), *rest = strtok(NULL, "\n");
	struct box *b = box_of(who);

	if (!verb)
		return;
	if (freezer && (!strcmp(verb, "freeze") || !strcmp(verb, "thaw"))) {
		paused = *verb == 'f';
		printf((paused ? freeze : thaw)(NULL) ? "error freezer\n" : "ok\n");
		return;
	}
	if (!strcmp(verb, "fork")) {
		fork_clone(who);
		return;
	}
	if (!strcmp(verb, "without")) {
		setenv("CLEAVE_TEST_WITHOUT", who ? who : "", 1);
		printf("ok\n");
		return;
	}
	if (!b) {
		printf("error no such sandbox\n");
		return;
	}
	if (!strcmp(verb, "capture")) {
		capture(b);
	} else if (!strcmp(verb, "ask")) {
		dprintf(b->in_fd, "%s\n", rest ? rest : "");
		read_line(b);
	} else if (!strcmp(verb, "tell")) {
		dprintf(b->in_fd, "%s\n", rest ? rest : "");
		printf("ok\n");
	} else if (!strcmp(verb, "read")) {
		read_line(b);
	} else if (!strcmp(verb, "layers")) {
		layers(b);
	} else if (!strcmp(verb, "wait")) {
		wait_status(b);
	} else if (!strcmp(verb, "eof")) {
		close_fd(&b->in_fd);
		printf("ok\n");
	} else if (!strcmp(verb, "drop")) {
		box_drop(b);
		printf("ok\n");
	} else if (!strcmp(verb, "pid")) {
		printf("%d\n", root_task(b));
	} else if (!strcmp(verb, "signal") && rest) {
		printf(kill(root_task(b), atoi(rest)) ? "error kill\n" : "ok\n");
	} else {
		printf("error unknown command\n");
	}
}

int main(int argc, char **argv)
{
	char line[65536];

	argv++;
	for (; argc > 1 && *argv && !strcmp(*argv, "--filter"); argv++)
		with_filter = true;
	if (argc > 2 && *argv && !strcmp(*argv, "--freezer")) {
		char path[512];

		freezer = argv[1];
		snprintf(path, sizeof(path), "%s/freezer.state", freezer);
		freezer_v1 = access(path, F_OK) == 0;
		argv += 2;
	}
	if (!*argv)
		return 2;
	as_root = geteuid() == 0;
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	box_make(argv, -EBADF);
	while (fgets(line, sizeof(line), stdin))
		command(line);
	for (int i = 0; i < n_boxes; i++)
		box_drop(&boxes[i]);
	return 0;
}
