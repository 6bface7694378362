# SPDX-License-Identifier: Apache-2.0
"""A build by gcc, half way."""
import pytest

from real import FEW, forks, in_the_middle, load, tally  # noqa: F401

pytestmark = pytest.mark.slow


def test_gcc_build_half_way(forks, box, tally):
    """vfork in flight is waited for; what it can't wait for is refused by name and tried again."""
    source = box.file("#include <stdio.h>\n#ifdef MAIN\nint f0(void), f1(void), f2(void), f3(void);\nint main(void)\n{\n\tprintf(\"%d\\n\", f0() + f1() * 3 + f2() * 5 "
                      "+ f3() * 7);\n}\n#else\nint N(void)\n{\n\tint s = 0;\n\tfor (int i = 0; i < 1000; i++)\n\t\ts += i * sizeof(#N);\n"
                      "\treturn s;\n}\n#endif\n".replace("sizeof(#N)", "__LINE__ % 7"), "part.c")
    script = "set -e; cd /tmp; for i in 0 1 2 3 0 1 2 3 0 1 2 3; do gcc -O2 -DN=f$i -c /home/user/part.c -o $i.o; echo $i >> progress; done; " \
             "gcc -DMAIN -O2 -c /home/user/part.c -o main.o; gcc main.o ?.o -o prog; ./prog"
    assert in_the_middle(forks, tally, script, [(source, "/home/user/part.c")]) * 2 >= FEW
