/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is an object: "argv", any option of a sandbox by its long name (a text, a number, true, or
 * a list of them), "stdin", "stdout", "stderr" (files; nothing else is read, and what is not
 * written to a file is in the result), "id" (anything, given back). What the command line says
 * holds for all lines and comes first.
 *
 * Each job is a child that becomes the keeper of its sandbox (cleave_run_here) and writes the
 * result into a memfd of ours; nothing is shared between two jobs. A line with a "pair" of such
 * objects is one job with two of these children, the stdout of each piped to the stdin of the
 * other. Neither keeper ever waits for the other one, and each holds its own sandbox to its limits.
 */
#include "cli/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/portable.h"
#include "base/text.h"
#include "base/whole_json.h"
#include "cli/batch_line.h"
#include "cli/out.h"

#define JOBS_MAX 1024
#define READ_BYTES (64u << 10)

struct job {
	size_t n, running; /* 0: free */
	pid_t pid[2];      /* 0: ended */
	int status[2];     /* as wait gives it */
	int result_fd[2];
	size_t index;
	json_t *id;
};

struct batch {
	int in_fd;
	char *text; /* read and not yet taken: [begin, end); up to `seen` there is no end of a line
		     */
	size_t begin, seen, end, room;
	bool in_over;
	struct pollfd *poll; /* the input and every keeper */
	char *common;        /* the spec of the command line, as JSON */
	struct job *job;
	size_t jobs, running, next;
	int status;
};

static const int stopping[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t stopped_by;
static struct batch *volatile current; /* NULL: none has jobs */

/* A signal to us is one to all jobs: each keeper passes it on to its command. The table changes
 * only while these signals are blocked. */
static void on_signal(int signo)
{
	stopped_by = signo;
	for (size_t i = 0; current && i < current->jobs; i++)
		for (size_t k = 0; k < 2; k++)
			if (current->job[i].pid[k] > 0)
				kill(current->job[i].pid[k], signo);
}

static void block(bool on)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(stopping); i++)
		sigaddset(&set, stopping[i]);
	sigprocmask(on ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* ---- output ---- */

/* Takes over o, the answer without its line. */
static void print(struct batch *b, size_t index, json_t *id, json_t *o)
{
	json_t *all =
		json_pack("{s:I,s:O}", "index", (json_int_t)index, "id", id ? id : json_null());
	AUTO_FREE char *text = NULL;
	AUTO_FREE char *line = NULL;

	if (all && o && json_object_update(all, o) == 0)
		text = whole_json_dumps(all, JSON_COMPACT);
	json_decref(o);
	json_decref(all);
	if (!text || asprintf(&line, "%s\n", text) < 0 || out_text("run", line))
		b->status = 125;
}

static void refuse(struct batch *b, size_t index, json_t *id, const char *why)
{
	print(b, index, id, json_pack("{s:s}", "error", why));
	b->status = 125;
}

static json_t *read_result(int fd)
{
	struct stat st;
	json_t *o;
	char *text;

	if (fstat(fd, &st) < 0 || st.st_size <= 0)
		return NULL;
	text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (text == MAP_FAILED)
		return NULL;
	o = json_loadb(text, (size_t)st.st_size, JSON_ALLOW_NUL, NULL);
	munmap(text, (size_t)st.st_size);
	return o;
}

/* Which of a pair was over first; null when one of them has no such time. */
static json_t *first_of(json_t *const result[2])
{
	const json_t *a = json_object_get(result[0], "ended_ns"),
		     *b = json_object_get(result[1], "ended_ns");

	if (!json_is_integer(a) || !json_is_integer(b))
		return json_null();
	return json_integer(json_integer_value(b) < json_integer_value(a));
}

/* ---- jobs ---- */

static bool put_on(int to, const char *path, int flags)
{
	AUTO_FD int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);

	return fd >= 0 && dup2(fd, to) >= 0;
}

/* in, out: what a pair is connected by, -1: none. */
static bool connect_streams(const struct batch_member *m, int in, int out)
{
	static const int how[] = {O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC,
				  O_WRONLY | O_CREAT | O_TRUNC};
	const int given[] = {in, out, -1};

	for (int i = 0; i < 3; i++)
		if (given[i] >= 0 ? dup2(given[i], i) < 0
				  : !put_on(i, m->file[i] ? m->file[i] : "/dev/null",
					    m->file[i] ? how[i] : O_RDWR))
			return false;
	return true;
}

/* all: every pipe that we inherited, ended by -1; one that stays open here would hide the end of a
 * stream from the other side. */
_Noreturn static void job_main(const struct batch_member *m, int in, int out, const int *all,
			       int result_fd)
{
	cleave_result *result;
	char *text;
	size_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0); /* what a terminal sends comes through us, once */
	for (size_t i = 0; i < ARRAY_LEN(stopping); i++)
		signal(stopping[i], SIG_DFL);
	block(false);
	if (!connect_streams(m, in, out))
		_exit(125);
	for (; *all >= 0; all++)
		close(*all);
	if (cleave_run_here(m->spec, &result) < 0)
		_exit(125);
	text = cleave_result_json(result);
	n = text ? strlen(text) : 0;
	_exit(text && write(result_fd, text, n) == (ssize_t)n ? 0 : 125);
}

static void forget(struct job *j)
{
	block(true);
	for (size_t i = 0; i < j->n; i++)
		close_fd(&j->result_fd[i]);
	json_decref(j->id);
	*j = (struct job){0};
	block(false);
}

/* pipes: {read, write} of 0 to 1, then of 1 to 0; -1 all over for a single one. */
static int start_member(struct job *j, size_t i, const struct batch_line *l, const int pipes[5])
{
	int in = l->n == 2 ? pipes[i ? 0 : 2] : -1, out = l->n == 2 ? pipes[i ? 3 : 1] : -1;

	j->result_fd[i] = memfd_create("cleave-result", MFD_CLOEXEC);
	if (j->result_fd[i] < 0)
		return -errno;
	block(true);
	j->pid[i] = stopped_by ? -1 : fork();
	if (j->pid[i] == 0)
		job_main(&l->member[i], in, out, pipes, j->result_fd[i]);
	j->running += j->pid[i] > 0;
	block(false);
	return j->pid[i] > 0 ? 0 : stopped_by ? -ECANCELED : -errno;
}

static int start_members(struct job *j, const struct batch_line *l)
{
	int pipes[5] = {-1, -1, -1, -1, -1}, r = 0;

	if (l->n == 2 && (pipe2(pipes, O_CLOEXEC) < 0 || pipe2(pipes + 2, O_CLOEXEC) < 0))
		r = -errno;
	for (size_t i = 0; r == 0 && i < l->n; i++)
		r = start_member(j, i, l, pipes);
	for (int i = 0; i < 4; i++)
		close_fd(&pipes[i]);
	return r;
}

static void start(struct batch *b, struct job *j, const struct batch_line *l, size_t index)
{
	char why[300];
	int r;

	*j = (struct job){.n = l->n,
			  .result_fd = {-EBADF, -EBADF},
			  .index = index,
			  .id = json_incref(batch_line_id(l))};
	r = start_members(j, l);
	if (r == 0) {
		b->running++;
		return;
	}
	/* its partner has nobody to talk to */
	for (size_t i = 0; i < 2; i++)
		if (j->pid[i] > 0) {
			kill(j->pid[i], SIGTERM);
			while (waitpid(j->pid[i], NULL, 0) < 0 && errno == EINTR)
				;
		}
	snprintf(why, sizeof(why), "not started: %s",
		 stopped_by ? "the batch was stopped" : strerror(-r));
	refuse(b, index, batch_line_id(l), why);
	forget(j);
}

/* All of its sandboxes have ended. */
static void finish(struct batch *b, struct job *j)
{
	json_t *result[2] = {NULL};
	char why[100];

	b->running--;
	for (size_t i = 0; i < j->n; i++) {
		result[i] = j->status[i] == 0 ? read_result(j->result_fd[i]) : NULL;
		if (result[i])
			continue;
		snprintf(why, sizeof(why), "the keeper of this job ended with wait status %#x",
			 (unsigned)j->status[i]);
		refuse(b, j->index, j->id, why);
		json_decref(result[0]);
		forget(j);
		return;
	}
	if (j->n == 1)
		print(b, j->index, j->id, json_pack("{s:o}", "result", result[0]));
	else
		print(b, j->index, j->id,
		      json_pack("{s:o,s:[o,o]}", "first", first_of(result), "results", result[0],
				result[1]));
	forget(j);
}

/* Takes the end of one keeper, if it was told. */
static bool reap_one(struct batch *b, int flags)
{
	int status;
	pid_t pid = waitpid(-1, &status, flags);

	for (size_t i = 0; pid > 0 && i < b->jobs; i++)
		for (size_t k = 0; k < 2; k++) {
			struct job *j = &b->job[i];

			if (j->pid[k] != pid)
				continue;
			block(true);
			j->pid[k] = 0;
			j->status[k] = status;
			block(false);
			if (--j->running == 0)
				finish(b, j);
			return true;
		}
	return pid > 0;
}

static struct job *free_job(struct batch *b)
{
	while (b->running == b->jobs)
		reap_one(b, 0);
	for (size_t i = 0;; i++)
		if (!b->job[i].n)
			return &b->job[i];
}

/* Results are printed as jobs end, also while whoever writes the lines waits for one. */
static void wait_for_input(struct batch *b)
{
	while (!stopped_by) {
		nfds_t n = 1;
		int ms = -1, r;

		b->poll[0] = (struct pollfd){b->in_fd, POLLIN, 0};
		for (size_t i = 0; i < 2 * b->jobs; i++) {
			pid_t pid = b->job[i / 2].pid[i % 2];
			int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -EBADF;

			if (fd >= 0)
				b->poll[n++] = (struct pollfd){fd, POLLIN, 0};
			else if (pid > 0) /* no descriptor left */
				ms = 100;
		}
		r = poll(b->poll, n, ms);
		while (n > 1)
			close(b->poll[--n].fd);
		while (b->running && reap_one(b, WNOHANG))
			;
		if (r > 0 && b->poll[0].revents)
			return;
	}
}

/* 0, or -errno; the end of the input sets in_over. */
static int read_more(struct batch *b)
{
	ssize_t n;

	if (b->begin)
		memmove(b->text, b->text + b->begin, b->end - b->begin);
	b->seen -= b->begin;
	b->end -= b->begin;
	b->begin = 0;
	if (b->room - b->end < READ_BYTES) {
		char *grown = realloc(b->text, 2 * b->room + READ_BYTES);

		if (!grown)
			return -ENOMEM;
		b->text = grown;
		b->room = 2 * b->room + READ_BYTES;
	}
	wait_for_input(b);
	if (stopped_by)
		return 0;
	n = read(b->in_fd, b->text + b->end, b->room - b->end - 1);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	b->in_over = n == 0;
	b->end += (size_t)n;
	return 0;
}

/* The next line, ended by a NUL in place of its newline; NULL: there is none. */
static char *next_line(struct batch *b, size_t *ret_n)
{
	int r = 0;

	while (r == 0 && !stopped_by) {
		char *line = b->text + b->begin, *stop = NULL;

		if (b->end > b->seen)
			stop = memchr(b->text + b->seen, '\n', b->end - b->seen);
		b->seen = b->end;
		if (stop || (b->in_over && b->end > b->begin)) {
			*ret_n = (size_t)((stop ? stop : b->text + b->end) - line);
			line[*ret_n] = 0;
			b->begin += *ret_n + (stop != NULL);
			b->seen = b->begin;
			return line;
		}
		if (b->in_over)
			return NULL;
		r = read_more(b);
	}
	if (r < 0) {
		out_error("run", "--batch: read the lines: %s", strerror(-r));
		b->status = 125;
	}
	return NULL;
}

static bool is_blank(const char *s, size_t n)
{
	return strspn(s, " \t\r\n") == n;
}

static void take_line(struct batch *b, const char *text, size_t n)
{
	size_t index = b->next++;
	struct batch_line line;
	char why[512];

	if (batch_line_read(text, n, b->common, &line, why, sizeof(why)) == 0)
		start(b, free_job(b), &line, index);
	else
		refuse(b, index, batch_line_id(&line), why);
	batch_line_done(&line);
}

static int open_batch(struct args *a, struct batch *b)
{
	const char *file = a->value[OPT_BATCH];
	uint64_t jobs = 0;
	cpu_set_t set;

	if (a->n_operands) {
		out_error("run", "--batch: the commands stand in the file ('%s' is one too many)",
			  a->operands[0]);
		return 125;
	}
	if (a->seen[OPT_JOBS] && text_parse_uint(a->value[OPT_JOBS], 1, JOBS_MAX, &jobs) < 0) {
		out_error("run", "--jobs '%s': a number from 1 to %d is expected",
			  a->value[OPT_JOBS], JOBS_MAX);
		return 125;
	}
	if (!jobs)
		jobs = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (uint64_t)CPU_COUNT(&set);
	b->jobs = (size_t)jobs;
	b->in_fd = strcmp(file, "-") == 0 ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
	b->common = cleave_spec_json(a->spec);
	b->job = calloc(b->jobs, sizeof(*b->job));
	b->poll = calloc(1 + 2 * b->jobs, sizeof(*b->poll));
	if (b->in_fd < 0) {
		out_error("run", "--batch %s: %s", file, strerror(errno));
		return 125;
	}
	return b->common && b->job && b->poll ? 0 : 125;
}

int batch_run(struct args *a)
{
	struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: calls return */
	struct batch b = {.in_fd = -EBADF};
	char *line;
	size_t n;
	int status = open_batch(a, &b);

	current = b.job ? &b : NULL;
	for (size_t i = 0; i < ARRAY_LEN(stopping); i++)
		sigaction(stopping[i], &action, NULL);
	signal(SIGCHLD, SIG_DFL); /* who ignores it is never told how a child ended */
	while (!status && (line = next_line(&b, &n)))
		if (!is_blank(line, n))
			take_line(&b, line, n);
	while (b.running)
		reap_one(&b, 0);
	current = NULL; /* a late signal finds no numbers to kill */
	free(b.text);
	free(b.poll);
	free(b.common);
	free(b.job);
	if (b.in_fd != STDIN_FILENO)
		close_fd(&b.in_fd);
	if (stopped_by)
		return 128 + stopped_by;
	return status ? status : b.status;
}
