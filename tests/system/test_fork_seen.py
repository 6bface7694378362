# SPDX-License-Identifier: Apache-2.0
"""What each row of src/raw/restore.def is there for, seen in a clone by the one thing that it alone brings about.
tools/mutate takes the rows away in turn and runs this test."""
from forks import forks  # noqa: F401

SETUP = """
os.chdir('/tmp'); os.umask(0o27)
f = open('/tmp/f', 'w+'); f.write('content'); f.flush(); f.seek(3)
r, w = os.pipe(); os.write(w, b'queued'); e = os.eventfd(7)
signal.signal(signal.SIGUSR1, lambda *a: state.__setitem__('usr1', 1))
ctypes.CDLL(None).prctl(15, b'renamed', 0, 0, 0); resource.setrlimit(resource.RLIMIT_NOFILE, (321, 400))
big = bytearray(b'heap' * 100000)
local = threading.local(); local.here = 'main'
threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)], daemon=True).start()
child = os.fork()
if child == 0:
    os.setsid()
    while True: time.sleep(1)
grouped = os.fork()
if grouped == 0:
    while True: time.sleep(1)
os.setpgid(grouped, grouped)
member = os.fork()
if member == 0:
    while True: time.sleep(1)
os.setpgid(member, grouped)
while os.getsid(child) != child: time.sleep(0.01)
"""
STATUS = "{l.split(':')[0]: l.split()[1:] for l in open('/proc/self/status') if l.startswith(('Cap', 'NoNew', 'Seccomp:', 'Uid', 'Gid', 'Groups'))}"
# What is asked in source and clone, and must be answered alike. The answer of the source is what is written here.
ASKED = {
    "OPEN": ("f.read(4)", "tent"),
    "OBJECTS": ("[os.read(r, 6).decode(), os.eventfd_read(e)]", ["queued", 7]),
    "SPAWN": ("open(f'/proc/{child}/comm').read()", "renamed\n"),
    "SESSION": ("os.getsid(child) == child", True),
    "GROUP": ("[os.getpgid(grouped) == grouped, os.getpgid(member) == grouped]", [True, True]),
    "MAP": ("[len(big), hashlib.md5(big).hexdigest()]", None),
    "MM": ("[os.readlink('/proc/self/exe'), open('/proc/self/cmdline').read().split(chr(0))[1]]", ["/usr/bin/python3.11", "-u"]),
    "SIGNALS": ("[os.kill(os.getpid(), signal.SIGUSR1), time.sleep(0.01), state.get('usr1')]", [None, None, 1]),
    "FILES": ("[os.getcwd(), f.fileno() == int(max(os.listdir('/proc/self/fd'), key=lambda n: n == str(f.fileno())))]", ["/tmp", True]),
    "THREADS": ("len(os.listdir('/proc/self/task'))", 2),
    "ATTRIBUTES": ("[open('/proc/self/comm').read(), resource.getrlimit(resource.RLIMIT_NOFILE)]", ["renamed\n", [321, 400]]),
    "BOUNDING": (f"{STATUS}['CapBnd']", ["0" * 16]),
    "DROP": (f"[{STATUS}[n] for n in ('Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapAmb', 'NoNewPrivs')]",
             [["1000"] * 4, ["1000"] * 4, [], *[["0" * 16]] * 4, ["1"]]),
    "FILTER": (f"{STATUS}['Seccomp']", ["2"]),
    "UNMAP": ("[l.split()[-1] for l in open('/proc/self/maps') if 'cleave-init' in l]", []),
    "THREAD_STATE": ("[local.here, threading.get_native_id() == os.getpid()]", ["main", True]),
}


def test_a_clone_has_all_that_its_source_had(forks):
    """The rows of which something is missing, by name."""
    a = forks.program(SETUP)
    b = forks.fork(a, "-n", "1", timeout=25)[0]
    lacking = {}
    for row, (question, answer) in ASKED.items():
        of_clone, of_source = forks.ask(b, question), forks.ask(a, question)
        if of_source != of_clone or (answer is not None and of_source != answer):
            lacking[row] = (of_clone, of_source, answer)
    assert lacking == {}
