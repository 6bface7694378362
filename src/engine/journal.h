/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: what outlives processes, written down before it is made. One directory a sandbox below the
 * state directory; its keeper holds a lock on it that no child inherits. Unlocked and still there:
 * the keeper died, and gc removes what the journal names.
 */
#pragma once

#include "base/err.h"

struct journal {
	char id[13];
	int dir_fd;  /* STATE/sandboxes/ID, locked; -EBADF: there is none */
	int file_fd; /* the journal itself; -EBADF: nothing written yet */
};

#define JOURNAL_INIT ((struct journal){.dir_fd = -EBADF, .file_fd = -EBADF})

/* $CLEAVE_STATE, /run/cleave, $XDG_RUNTIME_DIR/cleave or /tmp/cleave-UID, made if missing. Returns
 * an fd. */
int state_open(struct err *e);
/* A directory in it ("names", "sandboxes" ...), made if missing. Returns an fd. */
int state_open_dir(const char *name, struct err *e);
/* Locks a directory that state_open_dir gave, until it is closed or unlocked. Whoever holds it
 * needs microseconds; one that was stopped meanwhile holds up nobody for longer than five seconds.
 */
int state_lock(int fd, struct err *e);
/*
 * Notes "KIND OBJECT". For box_journal.will_make with arg = struct journal *. Without journal_open
 * before, the journal is a locked file of its own under the ID, which is all that a sandbox needs
 * that nobody can ask: half of a directory's changes to the file system.
 */
int journal_note(void *arg, const char *kind, const char *object, struct err *e);
/* Makes the state directory of j->id and locks it, without noting anything. Idempotent. */
int journal_open(struct journal *j, struct err *e);
/* Everything named is gone: empties the journal. The directory stays, for a sandbox that can be
 * asked how it ended. */
void journal_clear(struct journal *j);
/* Everything named is gone: removes the directory, or the file. */
void journal_close(struct journal *j);
/* Removes the files of dir_fd and the directory sandboxes/ID itself. */
int state_remove(int state_fd, int dir_fd, const char *id);
/* Removes what dead keepers left; appends a line a thing to *report (malloc'd). Returns how many,
 * or -errno. */
int journal_gc(char **report, struct err *e);
