/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/clone.h"
#include "fuzz.h"

static void pair(int fds[2])
{
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
}

static void one_time(struct keeper *k)
{
	static const char spec[] = "{\"version\":1,\"argv\":[\"/bin/true\"],\"env\":[\"A=1\"]}";
	struct err e = ERR_INIT;

	FUZZ_CHECK(spec_decode(spec, strlen(spec), &k->spec, &e) == 0);
	k->box = BOX_INIT;
	k->journal = JOURNAL_INIT;
	k->journal.dir_fd = fuzz_directory("keeper");
	snprintf(k->journal.id, sizeof(k->journal.id), "0123456789ab");
	k->oom.fd = k->oom.memory_fd = -EBADF;
	k->main_in_fd = k->master_fd = k->report_fd = -EBADF;
	k->init.fd = k->signals.fd = k->listener.fd = k->oom_source.fd = k->tracer.fd = -EBADF;
	k->output[0].fd = k->output[1].fd = -EBADF;
	k->host = (struct plan_host){.uid = 1000, .gid = 1000, .nofile_hard = 4096};
	k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	/* no process: a signal to it fails */
	k->box.pidfd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	FUZZ_CHECK(k->epoll_fd >= 0 && k->box.pidfd >= 0);
	result_init(&k->commands[0].result);
	FUZZ_CHECK(plan_make(&k->spec, &k->host, &k->plan, &k->commands[0].result, &e) == 0);
	/* captures trace processes: a client is told that one is under way */
	k->capture = (struct capture *)calloc(1, 4096);
	k->has_main = true;
	for (size_t i = 0; i < KEEPER_CONNS; i++)
		k->conns[i] = (struct conn){.source = {.fd = -EBADF}, .out_fd = {-EBADF, -EBADF}};
}

struct fuzz_keeper *fuzz_keeper_new(enum state state)
{
	static struct fuzz_keeper f;
	struct keeper *k = &f.k;
	int fds[2];

	if (!k->plan.plan)
		one_time(k);
	k->state = state;
	k->kill_at = k->deadline_at = k->ttl_at = k->idle_at = 0;
	k->main_over = k->held = k->init_gone = false;
	k->failure = ERR_INIT;
	k->main_pid = 0;
	k->next_id = MAIN_ID + 1;
	k->commands[0].used = true;
	k->commands[0].id = MAIN_ID;
	k->commands[0].end = (struct ending){.main = true};
	pair(fds);
	k->box.sock_fd = fds[0];
	f.init_fd = fds[1];
	pair(fds);
	k->conns[0].source.fd = fds[0];
	f.client_fd = fds[1];
	return &f;
}

void fuzz_keeper_done(struct fuzz_keeper *f)
{
	struct keeper *k = &f->k;

	k->conns[0].bound = false;
	if (k->conns[0].source.fd >= 0)
		keeper_conn_close(k, &k->conns[0]);
	close(f->client_fd);
	close(f->init_fd);
	close(k->box.sock_fd);
	close_fd(&k->output[0].fd);
	k->master_fd = -EBADF;
	for (size_t i = 0; i < KEEPER_COMMANDS; i++) {
		struct command_state *c = &k->commands[i];

		json_decref(c->request_id);
		c->request_id = NULL;
		c->client = NULL;
		if (i == 0) {
			free(c->cmd);
			c->cmd = NULL;
			result_done(&c->result);
			result_init(&c->result);
		} else if (c->used) {
			free(c->cmd);
			result_done(&c->result);
			*c = (struct command_state){0};
		}
	}
}
