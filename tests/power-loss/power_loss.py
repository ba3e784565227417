#!/usr/bin/env python3
"""Does anything that was answered survive a power loss? Needs root, ext4 and a loop device.

A crowd issues and revokes on a file system of its own. At some moment that file system is shut down as a power
loss would do it (EXT4_IOC_SHUTDOWN, nothing flushed: what was not synced is gone). Then it is mounted again, and
the home must open, must be whole, and must know every certificate and revocation that was answered before.

    cargo build -p vouchsafe
    cargo test -p vouchsafe-ca --test ca --no-run      # says where the test binary is
    sudo tests/power-loss/power_loss.py target/debug/vouchsafe target/debug/deps/ca-… 40 [sled|redb]
"""

import fcntl
import json
import os
import random
import subprocess
import sys
import tempfile
import time

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = (2).to_bytes(4, "little")


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done


class World:
    def __init__(self, folder, vouchsafe, crowd, store):
        self.image, self.mount = f"{folder}/image", f"{folder}/mount"
        self.home, self.said = f"{self.mount}/home", f"{folder}/said"
        self.vouchsafe, self.crowd, self.store = vouchsafe, crowd, store
        os.mkdir(self.mount)
        with open(self.image, "wb") as image:
            image.truncate(400 * 1024 * 1024)

    def begin(self):
        run("umount", self.mount, check=False)
        run("mkfs.ext4", "-q", "-F", self.image)
        run("mount", "-o", "loop", self.image, self.mount)
        self.ask("init", "--trust-domain", "acme.example", "--store", self.store)

    def ask(self, *arguments):
        return run(self.vouchsafe, "--home", self.home, *arguments)

    def lose_power(self):
        """Says what was answered before."""
        arguments = ["--exact", "killed::a_crowd_at_work", "--ignored", "--nocapture"]
        environment = {"VOUCHSAFE_TEST_HOME": self.home}
        with open(self.said, "w") as said:
            crowd = subprocess.Popen(
                [self.crowd, *arguments], env=environment, stdout=said, stderr=subprocess.DEVNULL
            )
        while os.path.getsize(self.said) < 3_000 and crowd.poll() is None:
            time.sleep(0.01)
        time.sleep(random.random())
        directory = os.open(self.mount, os.O_RDONLY)
        fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        os.close(directory)
        crowd.kill()
        crowd.wait()
        run("umount", self.mount)
        run("mount", "-o", "loop", self.image, self.mount)
        with open(self.said) as said:
            whole = [line.split() for line in said if line.endswith("\n")]
        return [words for words in whole if words and words[0] in ("issued", "revoked")]

    def check(self, answered):
        self.ask("audit", "--verify")
        opened = self.ask("list", "--json")
        self.ask("audit", "--verify")
        status = {known["serial"]: known["status"] for known in json.loads(opened.stdout)}
        for act, serial in answered:
            known = status.get(serial)
            if known is None or (act == "revoked" and known != "revoked"):
                sys.exit(f"{serial} was {act}, and is {known or 'unknown'}")
        return len(status), "interrupted" in opened.stderr


def main(vouchsafe, crowd, rounds="40", store="sled"):
    vouchsafe, crowd = os.path.abspath(vouchsafe), os.path.abspath(crowd)
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder, vouchsafe, crowd, store)
        world.begin()
        total = mended = 0
        try:
            for _ in range(int(rounds)):
                answered = world.lose_power()
                known, was_mended = world.check(answered)
                total, mended = total + len(answered), mended + was_mended
                if known > 1_500:
                    world.begin()
        finally:
            run("umount", world.mount, check=False)
    if total == 0:
        sys.exit("nobody was answered: is that the tests of vouchsafe-ca?")
    print(f"{store}: {rounds} power losses, {total} answers, none lost; journal or store was brought level after {mended}")


if __name__ == "__main__":
    main(*sys.argv[1:])
