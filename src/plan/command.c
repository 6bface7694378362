/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of one command: argv, environment, ids, limits of the process. Pure. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "plan/builder.h"
#include "plan/make.h"

#define WORKLOAD_ID 1000
#define ADDR_NO_RANDOMIZE 0x0040000
#define NOFILE_SOFT 1024
#define NOFILE_HARD 1048576

/* Does the user's environment name this variable? */
static bool overridden(const struct spec_strv *user, const char *kv)
{
	size_t len = strcspn(kv, "=") + 1;

	for (size_t i = 0; i < user->n; i++)
		if (strncmp(user->v[i], kv, len) == 0)
			return true;
	return false;
}

/* PATH=..., unless the user says another one. */
static const char *default_path(const struct spec *spec, const struct spec_command *c)
{
	return plan_caps(spec->ids_range, c->user) ? "PATH=" PLAN_ROOT_PATH
						   : "PATH=" PLAN_SEARCH_PATH;
}

/* The user's PATH of the sandbox decides where the program is looked for. */
static const char *search_path(const struct spec *spec, const struct spec_command *c)
{
	for (size_t i = 0; i < c->env.n; i++)
		if (strncmp(c->env.v[i], "PATH=", 5) == 0)
			return c->env.v[i] + 5;
	return default_path(spec, c) + 5;
}

static uint32_t put_env(struct builder *b, const struct spec *spec, const struct spec_command *c,
			const char *term, uint32_t *ret_count)
{
	/* what every system has that a directory may hold */
	const char *shell = spec_root_is_dir(spec) ? "SHELL=/bin/sh" : "SHELL=/bin/bash";
	const char *home = c->user == SPEC_USER_ROOT ? "HOME=/root" : "HOME=/home/user";
	const char *user = c->user == SPEC_USER_ROOT ? "USER=root" : "USER=user";
	const char *logname = c->user == SPEC_USER_ROOT ? "LOGNAME=root" : "LOGNAME=user";
	const char *base[] = {default_path(spec, c), home, user, logname, shell, "LANG=C.UTF-8",
			      c->tty ? term : NULL};
	uint32_t count = 0, at;
	AUTO_FREE uint32_t *offsets = calloc(ARRAY_LEN(base) + c->env.n, sizeof(uint32_t));

	if (!offsets) {
		b->failed = true;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(base); i++)
		if (base[i] && !overridden(&c->env, base[i]))
			offsets[count++] = builder_text(b, base[i]);
	for (size_t i = 0; i < c->env.n; i++)
		offsets[count++] = builder_text(b, c->env.v[i]);
	at = builder_put(b, offsets, count * sizeof(uint32_t));
	*ret_count = count;
	return at;
}

static uint32_t put_argv(struct builder *b, const struct spec_strv *argv)
{
	AUTO_FREE uint32_t *offsets = calloc(argv->n + 1, sizeof(uint32_t));

	if (!offsets) {
		b->failed = true;
		return 0;
	}
	for (size_t i = 0; i < argv->n; i++)
		offsets[i] = builder_text(b, argv->v[i]);
	return builder_put(b, offsets, argv->n * sizeof(uint32_t));
}

static void put_limits(struct cmd *c, const struct spec_limits *l, const struct plan_host *h)
{
	uint64_t cpu_ns = spec_kill_ns(l, l->cpu_time_ns);
	uint64_t hard = h->nofile_hard < NOFILE_HARD ? h->nofile_hard : NOFILE_HARD;

	c->facts |= CMD_NOFILE;
	c->nofile_hard = l->nofile == SPEC_UNSET ? hard : l->nofile;
	c->nofile_soft = l->nofile == SPEC_UNSET ? NOFILE_SOFT : l->nofile;
	if (l->fsize_bytes != SPEC_UNSET) {
		c->facts |= CMD_FSIZE;
		c->fsize = l->fsize_bytes;
	}
	if (l->stack_bytes != SPEC_UNSET) {
		c->facts |= CMD_STACK;
		c->stack = l->stack_bytes;
	}
	if (l->cpu_time_ns != SPEC_UNSET) {
		c->facts |= CMD_CPU;
		/* the wall behind the count of the tree: the kernel holds it against ticks, which
		 * a busy or virtual machine hands out unevenly, so it stands a second further */
		c->cpu_seconds = (cpu_ns + 1999999999) / 1000000000;
		if (c->facts & CMD_MAIN && !h->cpu_time.version)
			c->cpu_time_ns = cpu_ns;
	}
	c->timeout_ns = l->timeout_ns == SPEC_UNSET ? 0 : spec_kill_ns(l, l->timeout_ns);
}

struct cmd *plan_command(const struct spec *spec, const struct spec_command *c,
			 const struct plan_host *host, bool main_command, struct err *e)
{
	struct cmd head = {.magic = CMD_MAGIC, .rows = 24, .cols = 80};
	struct builder b = {0};
	const char *cwd = c->workdir                  ? c->workdir
			  : c->user == SPEC_USER_ROOT ? "/root"
						      : "/home/user";

	builder_room(&b, sizeof(struct cmd));
	head.facts = (main_command ? CMD_MAIN : 0) | (c->tty ? CMD_TTY : 0) |
		     (host->root || spec->ids_range ? CMD_DROP_GROUPS : 0);
	head.uid = head.gid = c->user == SPEC_USER_ROOT ? 0 : WORKLOAD_ID;
	head.caps = plan_caps(spec->ids_range, c->user);
	put_limits(&head, &spec->limits, host);
	head.argc = (uint32_t)c->argv.n;
	head.argv = put_argv(&b, &c->argv);
	head.env = put_env(&b, spec, c, "TERM=xterm-256color", &head.envc);
	head.cwd = builder_text(&b, cwd);
	head.path = builder_text(&b, search_path(spec, c));
	snprintf(head.test_fail, sizeof(head.test_fail), "%s",
		 host->test_fail ? host->test_fail : "");
	snprintf(head.test_stop, sizeof(head.test_stop), "%s",
		 host->test_stop ? host->test_stop : "");
	head.test_errno = host->test_errno;
	head.personality = c->no_aslr ? ADDR_NO_RANDOMIZE : 0;
#ifdef CLEAVE_DEV
	snprintf(head.test_without, sizeof(head.test_without), "%s",
		 host->test_without ? host->test_without : "");
	if (raw_without(head.test_without, "limit", "timeout"))
		head.timeout_ns = 0;
#endif
	head.processors = host->processors ? host->processors : 1;
	head.total_bytes = (uint32_t)b.size;
	if (b.failed) {
		builder_done(&b);
		err_set(e, ERR_INTERNAL, ENOMEM, "make the plan of a command");
		return NULL;
	}
	*(struct cmd *)b.bytes = head;
	return (struct cmd *)b.bytes;
}
