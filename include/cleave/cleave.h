/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleave: sandboxes that fork. The one public header; the command line tool uses nothing else.
 *
 * Conventions. Functions return 0 (or a value >= 0) or a negative errno; the sentence for people is
 * cleave_error(), per thread, valid until the thread's next call. Handles are opaque, owned by the
 * caller, freed by their *_free function, which accepts NULL. Strings that are returned as `char *`
 * are malloc'd and belong to the caller (free()); `const char *` belong to the handle. A handle is
 * used by one thread at a time; different handles by different threads at once. The library never
 * prints, never exits, and never clones inside the caller's threads: keepers are processes of the
 * `cleave` program of their own (see cleave_program), except for cleave_run_here, which says so.
 */
#ifndef CLEAVE_H
#define CLEAVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLEAVE_API_VERSION 1

typedef struct cleave_spec cleave_spec;
typedef struct cleave_result cleave_result;

/* ---- errors ---- */

/* "WHAT: REASON (HINT)" of this thread's last failed call; "" if none failed. Never blocks. */
const char *cleave_error(void);
/* Its kind as in the JSON field error.id ("usage", "limit", "launch" ...); "none" if none failed.
 */
const char *cleave_error_id(void);
/* The exit status that `cleave` gives for it: 125, 126 or 127; 0 if none failed. */
int cleave_error_status(void);

/* ---- spec: what is asked for ---- */

/* A spec with every default. NULL when out of memory. */
cleave_spec *cleave_spec_new(void);
void cleave_spec_free(cleave_spec *spec);
/*
 * Sets one option by its long name without dashes, as on the command line: ("memory", "64M"),
 * ("ro",
 * "/data:/data"), ("env", "A=1"). Repeatable options append. Flags take NULL. Copies its arguments.
 * For programs alone: ("pass", "stdout" or "stderr") passes that stream on although there is
 * capture, and ("tee", NULL) keeps what is passed on as well; ("stdio", "own") for cleave_run_here
 * gives the process's descriptors 0 and 1 away: each is closed as soon as the sandbox has closed
 * its side.
 * -EINVAL: unknown option or unusable value (cleave_error names the nearest). Does not block.
 */
int cleave_spec_set(cleave_spec *spec, const char *option, const char *value);
/* The command and its arguments, NULL terminated, copied. -E2BIG beyond the kernel's limits,
 * -ENOMEM. Does not block. */
int cleave_spec_argv(cleave_spec *spec, const char *const *argv);
/* The spec as one JSON object; malloc'd, NULL when out of memory. Does not block. */
char *cleave_spec_json(const cleave_spec *spec);
/* The reverse: a JSON object as cleave_spec_json makes it, len bytes. NULL on error (malformed,
 * unknown field, unusable value, out of memory); cleave_error names the field. Does not block. */
cleave_spec *cleave_spec_parse(const char *json, size_t len);

/* ---- run: one command in a new sandbox ---- */

/*
 * Makes the sandbox, runs the command to its end and removes everything. The calling process
 * becomes the keeper meanwhile: it must be single-threaded (-EBUSY otherwise) and have no child
 * that it does not expect to be reaped by others; SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1,
 * SIGUSR2, SIGWINCH, SIGTSTP and SIGCONT are handled and forwarded until it returns. Blocks until
 * the end.
 *
 * 0: *ret tells how it ended, a failed start (status "setup_error") included. Negative: no result
 * could be made.
 */
int cleave_run_here(const cleave_spec *spec, cleave_result **ret);

void cleave_result_free(cleave_result *r);
/* One JSON object, `schema: 1`, every field present; malloc'd, NULL when out of memory. The calls
 * on a result don't block. */
char *cleave_result_json(const cleave_result *r);
/* "exited", "signaled", "timeout", "cpu_limit", "memory_limit", "output_limit", "disk_limit",
 * "setup_error". */
const char *cleave_result_status(const cleave_result *r);
/* What `cleave run` exits with: the command's status, 128+signal, 124, 137, 125, 126, 127. */
int cleave_result_exit(const cleave_result *r);
/* The line for people about an end that is not "exited" or "signaled"; NULL when there is nothing
 * to say. */
const char *cleave_result_message(const cleave_result *r);

/* ---- sandboxes that live ---- */

/*
 * Below, `name` is a sandbox's name, its id, or a unique prefix of the id of six digits or more.
 * -ENOENT (no_sandbox): there is none; -EBADFD (state): it is in a state that does not allow the
 * call; -EPIPE (keeper): its keeper died meanwhile, or stands still (-ETIMEDOUT). Kinds without an
 * errno of their own: `denied` (it is somebody else's), `protocol` (its keeper said what can't be,
 * or is of a version too old). These are not repeated below. A call that says nothing about
 * blocking waits for one answer of the keeper, which never waits for the sandbox to give it.
 */

/* The path of the `cleave` program that becomes the keepers; NULL: $CLEAVE_PROGRAM, the running
 * program if it is cleave, or PATH. */
void cleave_program(const char *path);

/*
 * Makes a sandbox that lives on without us and starts its main command, if the spec has an argv
 * (idle otherwise). Blocks until the command runs. *ret_id: malloc'd, 12 hex digits; ret_id may be
 * NULL. Nothing is left behind on failure. Errors: those of cleave_spec_set, of names (`name`:
 * malformed or taken), and of every step of a launch (`launch`, `limit`, `source` ...);
 * cleave_error names the step.
 */
int cleave_start(const cleave_spec *spec, char **ret_id);

/* How a command's standard descriptors are connected. */
struct cleave_io {
	size_t size;   /* sizeof(struct cleave_io) */
	int stdin_fd;  /* forwarded until end of file; -1: the command reads /dev/null */
	int stdout_fd; /* -1 with capture, or to drop it */
	int stderr_fd;
	int forward_signals; /* 1: handle and forward signals while the call blocks, as
				cleave_run_here does */
};

/*
 * Runs a command in a living sandbox: argv, env, workdir, user, tty, timeout, memory, pids,
 * cpus, cpu-time, extra-time, swap, output-limit, stdout-limit, stderr-limit, no-aslr, degrade,
 * capture of the spec count, nothing else. With any of these limits what the command left running
 * ends with it. Blocks until it has ended and its output is passed on. *ret as for cleave_run_here;
 * a command that can't start is a result with status "setup_error".
 */
int cleave_exec(const char *name, const cleave_spec *spec, const struct cleave_io *io,
		cleave_result **ret);

/*
 * Connects to the main command's streams, until it ends or the connection is closed by `detach` (a
 * byte read from a terminal: ctrl-p ctrl-q). Blocks until then. *ret: its result when it ended,
 * NULL when we detached.
 */
int cleave_attach(const char *name, const struct cleave_io *io, cleave_result **ret);

/* Blocks until the main command has ended; timeout_ns UINT64_MAX: for ever; -ETIMEDOUT. *ret: its
 * result. */
int cleave_wait(const char *name, uint64_t timeout_ns, cleave_result **ret);

/* SIGTERM, then SIGKILL of everything after grace_ns. Blocks until it has ended, which may take
 * some seconds more for a process in the midst of a device's work. */
int cleave_stop(const char *name, uint64_t grace_ns);
/* A signal to the main command; SIGKILL (or an idle sandbox) ends everything. Returns before it has
 * ended. -EINVAL: no such signal. */
int cleave_kill(const char *name, int signo);
/* Stops every process inside at once: when it returns none runs. */
int cleave_pause(const char *name);
/* Lets them go on. */
int cleave_resume(const char *name);
/* Forgets an ended sandbox; force: ends it first, also when its keeper is stopped or dead. Blocks
 * until nothing of it is left. `state`: it runs, and force is 0. */
int cleave_rm(const char *name, int force);

/* The caller's sandboxes, living and ended: a JSON array of objects as cleave_inspect gives them,
 * without spec and layers. One whose state can't be read has its id alone. malloc'd, NULL on
 * error. */
char *cleave_list(void);
/* One JSON object: id, name, state, keeper_pid, init_pid, created, labels, spec, limits, layers,
 * lineage. malloc'd, NULL on error. */
char *cleave_inspect(const char *name);
/* One JSON object: memory, pids and processor time as they are now; null for what nobody counts.
 * malloc'd, NULL on error. */
char *cleave_stats(const char *name);

#define CLEAVE_FOLLOW 4u /* a flag of cleave_logs */

/* Writes the main command's kept output since `since_ns` (CLOCK_REALTIME, 0: all) to fds. With
 * CLEAVE_FOLLOW it goes on until the command ends. Blocks while the fds do. `output`: they can't be
 * written to; a reader that has gone ends it without an error. */
int cleave_logs(const char *name, uint64_t since_ns, unsigned flags, int stdout_fd, int stderr_fd);
/* Writes one JSON line an event to fd. Blocks until the sandbox (NULL: all of them and those to
 * come, for ever) ends. `output`: fd can't be written to; a reader that has gone ends it without an
 * error. */
int cleave_events(const char *name, int fd);

/*
 * Copies files by descriptors. Inside paths are "NAME:/path"; exactly one side is inside. "-" is a
 * tar stream on stdin or stdout (fd 0 or 1); a stream needs a directory inside that exists. flags:
 * 0. As with cp -r, a target that is a directory receives the source under its own name, and
 * "DIR/." stands for what is in DIR. Links are copied as links; in paths of the host none is
 * followed (-ELOOP), for a sandbox may have made it. What comes out belongs to the caller, what
 * goes in to the sandbox's user; set-id bits, ACLs and attributes stay behind. Blocks until it is
 * done.
 *
 * 0: everything was copied. Positive: so many devices, fifos, sockets and files of the kernel were
 * skipped; cleave_error() names the first. Negative: nothing could be copied, or the target could
 * not be written, or something could not be read while the rest was copied. As root, the calling
 * thread's fsuid is the sandbox's at times, which clears its parent-death signal.
 */
int cleave_copy(const char *from, const char *to, unsigned flags);
/*
 * JSON lines of what the sandbox wrote, to fd: {path, type, size, mode}; a path that is not UTF-8
 * is base64 and has "path_encoding". Listed is what lies in its writable places, which start empty;
 * directories of the host (--rw) are not. Results as for cleave_copy.
 */
int cleave_diff(const char *name, int fd);

/* ---- forks ---- */

/*
 * Forks a running or paused sandbox, or a snapshot, into count sandboxes, all or none. names: count
 * of them, or NULL for SOURCE-1 ... spec: hostname, labels and limits of the clones (NULL: the
 * source's). *ret_json: {source, clones, carried, recreated, broken, files, timing}. -EOPNOTSUPP
 * (unforkable): something inside can't be carried; the error names process, object and reason, and
 * the source is unharmed. Blocks until all clones run; the source stands still for a part of that,
 * which *ret_json (malloc'd) tells. On an error there is no clone.
 */
int cleave_fork(const char *source, const char *const *names, size_t count, const cleave_spec *spec,
		char **ret_json);
/* Keeps a named, immutable image of the sandbox. stop: it ends at that moment; it is paused until
 * the image is written, and goes on if that fails (a caller that dies meanwhile leaves it paused).
 * Errors as for cleave_fork; `name`: malformed or taken. Blocks until it is written. */
int cleave_snapshot(const char *name, const char *snapshot, int stop);
/* The caller's snapshots: a JSON array. malloc'd, NULL on error. */
char *cleave_snapshots(void);
/* Removes one. What was forked from it stays. */
int cleave_snapshot_rm(const char *snapshot);
/* The sandbox goes back to the snapshot, keeping its name and id. Blocks until it runs. What can be
 * known to be wrong (`image`: the snapshot is from another kernel or processor, or damaged) is
 * found before the sandbox is touched; if the launch fails after that, the sandbox is gone and the
 * snapshot stays. */
int cleave_rollback(const char *name, const char *snapshot);

/* ---- what this host can do ---- */

#define CLEAVE_JSON 1u  /* JSON instead of text */
#define CLEAVE_COUNT 2u /* explain: only how many steps */

/* The launch of this spec, step by step, as text or JSON; nothing is started. malloc'd, NULL on
 * error.
 */
char *cleave_explain(const cleave_spec *spec, unsigned flags);
/* Every layer: on, or why not and the line that mends it. *ret_bad: how many are not on. NULL on
 * error. */
char *cleave_doctor(unsigned flags, unsigned *ret_bad);
/* Removes what keepers that died without a farewell left behind. *ret_report: malloc'd text, a line
 * a thing. */
int cleave_gc(unsigned flags, char **ret_report);

#ifdef CLEAVE_INTERNAL
/* What `cleave keeper` runs: between the library and its program only. */
int cleave_keeper_main(int argc, char **argv);
#endif

/* The version of the library: "0.1.0". */
const char *cleave_version(void);

#ifdef __cplusplus
}
#endif
#endif
