/* SPDX-License-Identifier: Apache-2.0 */
/* glibc has these by name since 2.32, other C libraries do not. */
#include "base/names.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

#define N(name) [name] = #name
#define S(name) [SIG##name] = #name

static const char *const errnos[] = {
	N(EPERM),        N(ENOENT),          N(ESRCH),           N(EINTR),
	N(EIO),          N(ENXIO),           N(E2BIG),           N(ENOEXEC),
	N(EBADF),        N(ECHILD),          N(EAGAIN),          N(ENOMEM),
	N(EACCES),       N(EFAULT),          N(ENOTBLK),         N(EBUSY),
	N(EEXIST),       N(EXDEV),           N(ENODEV),          N(ENOTDIR),
	N(EISDIR),       N(EINVAL),          N(ENFILE),          N(EMFILE),
	N(ENOTTY),       N(ETXTBSY),         N(EFBIG),           N(ENOSPC),
	N(ESPIPE),       N(EROFS),           N(EMLINK),          N(EPIPE),
	N(EDOM),         N(ERANGE),          N(ENAMETOOLONG),    N(ENOLCK),
	N(ENOSYS),       N(ENOTEMPTY),       N(ELOOP),           N(ENOMSG),
	N(EIDRM),        N(ECHRNG),          N(EL2NSYNC),        N(EL3HLT),
	N(EL3RST),       N(ELNRNG),          N(EUNATCH),         N(ENOCSI),
	N(EL2HLT),       N(EBADE),           N(EBADR),           N(EXFULL),
	N(ENOANO),       N(EBADRQC),         N(EBADSLT),         N(EBFONT),
	N(ENOSTR),       N(ENODATA),         N(ETIME),           N(ENOSR),
	N(ENONET),       N(ENOPKG),          N(EREMOTE),         N(ENOLINK),
	N(EADV),         N(ESRMNT),          N(ECOMM),           N(EPROTO),
	N(EMULTIHOP),    N(EDOTDOT),         N(EBADMSG),         N(EOVERFLOW),
	N(ENOTUNIQ),     N(EBADFD),          N(EREMCHG),         N(ELIBACC),
	N(ELIBBAD),      N(ELIBSCN),         N(ELIBMAX),         N(ELIBEXEC),
	N(EILSEQ),       N(ERESTART),        N(ESTRPIPE),        N(EUSERS),
	N(ENOTSOCK),     N(EDESTADDRREQ),    N(EMSGSIZE),        N(EPROTOTYPE),
	N(ENOPROTOOPT),  N(EPROTONOSUPPORT), N(ESOCKTNOSUPPORT), N(EPFNOSUPPORT),
	N(EAFNOSUPPORT), N(EADDRINUSE),      N(EADDRNOTAVAIL),   N(ENETDOWN),
	N(ENETUNREACH),  N(ENETRESET),       N(ECONNABORTED),    N(ECONNRESET),
	N(ENOBUFS),      N(EISCONN),         N(ENOTCONN),        N(ESHUTDOWN),
	N(ETOOMANYREFS), N(ETIMEDOUT),       N(ECONNREFUSED),    N(EHOSTDOWN),
	N(EHOSTUNREACH), N(EALREADY),        N(EINPROGRESS),     N(ESTALE),
	N(EUCLEAN),      N(ENOTNAM),         N(ENAVAIL),         N(EISNAM),
	N(EREMOTEIO),    N(EDQUOT),          N(ENOMEDIUM),       N(EMEDIUMTYPE),
	N(ECANCELED),    N(ENOKEY),          N(EKEYEXPIRED),     N(EKEYREVOKED),
	N(EKEYREJECTED), N(EOWNERDEAD),      N(ENOTRECOVERABLE), N(ERFKILL),
	N(EHWPOISON),
};

static const char *const signals[] = {
	S(HUP),  S(INT),    S(QUIT), S(ILL),   S(TRAP), S(ABRT), S(BUS),  S(FPE),
	S(KILL), S(USR1),   S(SEGV), S(USR2),  S(PIPE), S(ALRM), S(TERM), S(STKFLT),
	S(CHLD), S(CONT),   S(STOP), S(TSTP),  S(TTIN), S(TTOU), S(URG),  S(XCPU),
	S(XFSZ), S(VTALRM), S(PROF), S(WINCH), S(IO),   S(PWR),  S(SYS),
};

static const char *find(const char *const *names, size_t n, int number)
{
	return number > 0 && (size_t)number < n ? names[number] : NULL;
}

const char *name_of_errno(int code)
{
	return find(errnos, sizeof(errnos) / sizeof(errnos[0]), code);
}

const char *name_of_signal(int signo)
{
	return find(signals, sizeof(signals) / sizeof(signals[0]), signo);
}
