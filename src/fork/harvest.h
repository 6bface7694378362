/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to fork/: what the rows of harvest.def share while a tree is captured. */
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "fork/blob/parasite.h"
#include "fork/fork.h"
#include "fork/procfs.h"

#define REFUSE(e, code, ...) return err_set((e), ERR_UNFORKABLE, (code), __VA_ARGS__)

enum tracee_state {
	TRACEE_SEIZED, /* interrupted, stop not seen yet */
	TRACEE_STOPPED,
	TRACEE_GONE,
};

struct tracee {
	pid_t tid, pid; /* host */
	enum tracee_state state;
	int deferred;                 /* a signal that came while it could not be delivered */
	int arriving;                 /* a signal in whose stop it stands */
	bool dirty;                   /* its registers are ours: put them back */
	bool masked;                  /* its signal mask is ours */
	uint64_t ends;                /* where code of ours stops */
	pid_t released_for;           /* it runs on so that this vforking process can stop */
	struct user_regs_struct regs; /* as it was found */
	uint64_t sigmask;
	struct proc_status status;
	struct parasite_thread answers;
};

struct captive {
	pid_t pid, ppid;     /* host */
	uint32_t first, n;   /* tracees; the leader first */
	uint32_t parent;     /* index, IMAGE_NONE = init */
	uint32_t index;      /* of its PROC record */
	uint64_t syscall_at; /* a syscall instruction in its vdso */
	uint64_t scratch;    /* our memory inside it, 0 = none */
	uint64_t dumped;     /* bytes */
	struct proc_map *maps;
	size_t n_maps;
	struct parasite_process answers;
};

/* A process that has exited and was not waited for. */
struct dead {
	pid_t pid;       /* host */
	uint32_t parent; /* captive */
	struct proc_status status;
	int32_t exit_code;
};

struct harvest {
	const struct fork_source *src;
	struct fork_capture *cap;
	struct image_builder b;
	struct tracee *tracee;
	uint32_t n_tracees, room_tracees, n_released;
	struct captive *captive;
	uint32_t n_captives, room_captives;
	struct shared *shared;   /* of shared.c, by SHARED record */
	uint64_t nameless_bytes; /* copied of private mappings of files without a name */
	uint64_t through_bytes;  /* copied of objects to which only mappings lead */
	uint64_t unasked_bytes;  /* copied of shared objects since the host was asked for room */
	struct dead *dead;
	uint32_t n_dead;
	struct proc_text text; /* reused buffer */
	uint64_t stopped_ns;   /* when the first thread was interrupted */
	bool frozen, seized, infected;
	bool leaving; /* a task has not left the restorer yet: capture again in a moment */
	int image_fd;
	struct ahead *ahead; /* of ahead.c, under way */
	cpu_set_t cpus;      /* that this process had before row PIN */
	void *descriptors;   /* of descriptors.c, freed by descriptors_done() */
};

/* seize.c */
int row_freeze(struct harvest *h, struct err *e);
int row_seize(struct harvest *h, struct err *e);
int row_thaw(struct harvest *h, struct err *e);
int row_stop(struct harvest *h, struct err *e);
int row_detach(struct harvest *h, struct err *e);

/* life.c: does what is captured still live? */
int life_check(struct harvest *h, struct err *e);
int life_explain(struct harvest *h, int r, struct err *e);

/* tracee.c: one stopped thread. */
int tracee_wait(struct harvest *h, struct tracee *t, uint64_t timeout_ns, int *ret_status);
int tracee_syscall(struct harvest *h, struct tracee *t, uint64_t at, long nr, const uint64_t a[6],
		   long *ret);
/* Until it stops behind a breakpoint, at `ends`. */
int tracee_run(struct harvest *h, struct tracee *t, uint64_t rip, uint64_t rsp, uint64_t rdi,
	       uint64_t ends);
int tracee_restore(struct tracee *t);
/* Lets a thread run out of [start, end), the restorer's code, and no further. */
int tracee_leave(struct harvest *h, struct tracee *t, uint64_t start, uint64_t end,
		 uint64_t deadline_ns);
int tracee_read(pid_t pid, uint64_t at, void *p, size_t n);
int tracee_write(pid_t pid, uint64_t at, const void *p, size_t n);

/* tree.c */
int row_tree(struct harvest *h, struct err *e);
/* registers.c */
int row_registers(struct harvest *h, struct err *e);
/* scheduling.c: fills in what the thread chose of it */
int scheduling_record(struct harvest *h, const struct tracee *t, struct image_thread *x,
		      struct err *e);
/* mappings.c */
int row_mappings(struct harvest *h, struct err *e);
/* descriptors.c */
int row_descriptors(struct harvest *h, struct err *e);
void descriptors_done(struct harvest *h);
/* infect.c: puts every process that holds our memory back as it was. */
int row_infect(struct harvest *h, struct err *e);
int row_cure(struct harvest *h, struct err *e);
/* ahead.c: makes the image's memory file. */
int row_ahead(struct harvest *h, struct err *e);
int ahead_stop(struct harvest *h, struct err *e);

/* copy.c: memory of captives into the image, all at once. inside: the pid there, for messages. */
struct copier;
struct copier *copier_new(void);
int copier_add(struct copier *k, pid_t pid, int inside, uint64_t start, uint64_t end,
	       uint64_t offset);
int copier_run(struct copier *k, int image_fd, const cpu_set_t *cpus, struct err *e);
void copier_free(struct copier *k);

/* pages.c */
/* Has the host as much memory left? */
int host_holds(uint64_t bytes, struct err *e);
int row_pages(struct harvest *h, struct err *e);
int row_seal(struct harvest *h, struct err *e);

/* shared.c */
int shared_map(struct harvest *h, const struct captive *c, const struct proc_map *m, int pid,
	       struct image_map *x, struct err *e);
int shared_fd(struct harvest *h, pid_t pid, int fd, int inside_pid, const char *target,
	      uint32_t *ret, struct err *e);
int shared_pages(struct harvest *h, struct err *e);
void shared_done(struct harvest *h);

/* files.c: finds or adds the FILE record of a path inside process pid's root. */
struct stat;
int harvest_file(struct harvest *h, pid_t pid, const char *path, const struct stat *want,
		 uint32_t *ret, struct err *e);

static inline struct image_proc *harvest_proc(struct harvest *h, const struct captive *c)
{
	return image_builder_at(&h->b, IMAGE_PROC, c->index);
}

int note_add(struct fork_notes *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

uint64_t fork_now_ns(void);
