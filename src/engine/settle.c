/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/settle.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void settle_usage(struct result *res, const struct ending *r)
{
	if (!r->usage.wall_ns) /* init never told: the figures stay unknown */
		return;
	res->wall_ns = r->usage.wall_ns;
	res->ended_ns = r->usage.ended_ns;
	res->csw_voluntary = r->usage.csw_voluntary;
	res->csw_forced = r->usage.csw_forced;
	if (res->cpu_user_ns == RESULT_UNKNOWN) {
		res->cpu_user_ns = r->usage.user_ns;
		res->cpu_system_ns = r->usage.system_ns;
	}
}

void settle_figures(struct result *res, const struct cgroup *cg, struct ending *r)
{
	struct cgroup_stats s;

	if ((!r->started && !r->oom_killed) || !cg->dir_n)
		return;
	cgroup_stats_end(cg, &s);
	res->memory_peak_bytes = s.memory_peak_bytes;
	res->pids_peak = s.pids_peak;
	if (s.oom_kills != CGROUP_UNKNOWN)
		s.oom_kills -=
			s.oom_kills < r->oom_kills_elsewhere ? s.oom_kills : r->oom_kills_elsewhere;
	res->oom_kills = s.oom_kills;
	res->cpu_user_ns = s.cpu_user_ns;
	res->cpu_system_ns = s.cpu_system_ns;
	if (s.oom_kills != CGROUP_UNKNOWN && s.oom_kills > 0) {
		res->limits[LIMIT_MEMORY].hit = true;
		if (!r->survives_oom || (r->wait_status == SIGKILL && !r->killed && !r->timed_out &&
					 !r->cpu_over && !ending_output_over(r)))
			r->oom_killed = true;
	}
	res->limits[LIMIT_PIDS].hit = s.pids_hits != CGROUP_UNKNOWN && s.pids_hits > 0;
}

static bool disk_is_full(const struct ending *r)
{
	/* an init that was killed told nothing */
	if (!r->main || !r->usage.wall_ns)
		return false;
	return r->usage.disk_free_bytes < 4096 || r->usage.disk_free_inodes == 0;
}

/* The kernel's bound of one process stands a second behind the tree's: whoever gets its SIGXCPU
 * before has sent it himself. */
static bool cpu_is_used_up(const struct result *res)
{
	const struct result_limit *l = &res->limits[LIMIT_CPU_TIME];

	return l->enforced && res->cpu_user_ns != RESULT_UNKNOWN &&
	       res->cpu_user_ns + res->cpu_system_ns >= l->asked;
}

/* What the result tells and the verdict agree: more than was allowed is too much, also where it
 * came to its end before it was killed. */
static void settle_times(struct result *res, struct ending *r)
{
	const struct result_limit *wall = &res->limits[LIMIT_TIMEOUT],
				  *cpu = &res->limits[LIMIT_CPU_TIME];

	if (wall->enforced && res->wall_ns != RESULT_UNKNOWN && res->wall_ns > wall->asked)
		r->timed_out = true;
	if (cpu_is_used_up(res) && res->cpu_user_ns + res->cpu_system_ns > cpu->asked)
		r->cpu_over = true;
}

void settle_output(struct result *res, const struct ending *r)
{
	res->status = RESULT_OUTPUT_LIMIT;
	res->limits[LIMIT_OUTPUT].hit = r->output_over;
	res->limits[LIMIT_STDOUT].hit = r->stream_over[0];
	res->limits[LIMIT_STDERR].hit = r->stream_over[1];
}

static void settle_status(struct result *res, const struct ending *r)
{
	int st = r->wait_status;

	if (WIFEXITED(st))
		res->exit_code = WEXITSTATUS(st);
	else
		res->signal = WTERMSIG(st);
	res->status = WIFEXITED(st) ? RESULT_EXITED : RESULT_SIGNALED;
	if (disk_is_full(r) && (res->signal || res->exit_code)) {
		res->status = RESULT_DISK_LIMIT;
		res->limits[LIMIT_DISK].hit = true;
	}
	if (r->cpu_over || (res->signal == SIGXCPU && cpu_is_used_up(res))) {
		res->status = RESULT_CPU_LIMIT;
		res->limits[LIMIT_CPU_TIME].hit = true;
	}
	if (ending_output_over(r))
		settle_output(res, r);
	if (r->timed_out) {
		res->status = RESULT_TIMEOUT;
		res->limits[LIMIT_TIMEOUT].hit = true;
	}
	if (r->oom_killed) {
		res->status = RESULT_MEMORY_LIMIT;
		res->limits[LIMIT_MEMORY].hit = true;
	}
}

void settle_result(struct result *res, struct ending *r)
{
	/* a limit too small for the start itself, or time that was over before init told of it */
	if (r->started || r->oom_killed || r->timed_out) {
		settle_usage(res, r);
		settle_times(res, r);
		/* init was killed before it could tell: there is no wait status to report */
		if ((r->timed_out || r->cpu_over || r->oom_killed) && !r->usage.wall_ns)
			r->wait_status = SIGKILL;
		settle_status(res, r);
	}
	if (res->error.id)
		res->status = RESULT_SETUP_ERROR;
}

void settle_hint(struct err *e, const char *name)
{
	const char *path = getenv("PATH");
	char full[4096];

	if (e->id == ERR_NOT_EXEC) {
		struct stat st;

		if (strchr(name, '/') && stat(name, &st) == 0 && S_ISDIR(st.st_mode))
			err_hint(e, "it is a directory");
		return;
	}
	if (e->id != ERR_NOT_FOUND)
		return;
	if (strchr(name, '/')) {
		if (access(name, F_OK) == 0 && strncmp(name, "/usr/", 5) == 0)
			err_hint(e, "the file exists: the interpreter or loader that it names does "
				    "not");
		else if (name[0] == '/' && access(name, F_OK) == 0)
			err_hint(e, "it exists on the host only: show it by --ro %.*s",
				 (int)(strrchr(name, '/') - name > 0 ? strrchr(name, '/') - name
								     : 1),
				 name);
		return;
	}
	for (; path && *path; path += strcspn(path, ":"), path += *path == ':') {
		int n = snprintf(full, sizeof(full), "%.*s/%s", (int)strcspn(path, ":"), path,
				 name);

		if (n > 0 && (size_t)n < sizeof(full) && path[0] == '/' &&
		    access(full, X_OK) == 0) {
			err_hint(e,
				 "the host has it as %s: show it by --ro %.*s and call it by that "
				 "path",
				 full, (int)strcspn(path, ":"), path);
			return;
		}
	}
}
