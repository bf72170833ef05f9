"""Attacks by the image itself, and images that are not there."""

from __future__ import annotations

from tests.attacks.case import BUSYBOX, Attack, Mended, Plain, takes

GONE = "127.0.0.1:1/autoscorer-test/gone:1"  # port 1 of this machine: nobody listens there
FINE = Mended(container={"image": BUSYBOX})

ATTACKS = [
    Attack(
        name="image with a VOLUME",
        image="+volume",
        program="echo x > /data/small || exit 9; dd if=/dev/zero of=/data/large bs=1M count=300 && echo WON",
        expected=("CONTAINER_EXIT_NONZERO", "MEMORY_LIMIT"),
        control=Plain(),
    ),
    Attack(
        name="image with a health check",
        image="+health",
        program="sleep 1",
        harm=takes("health"),
        expected=(None,),
        control=Plain(),
    ),
    Attack(
        name="image of user root",
        image="+root",
        program="test $(id -u) = 0 && echo WON; true",
        expected=(None,),
        control=Plain(),
    ),
    Attack(
        name="image with a wrong entry point",
        image="+no-entry",
        program="echo WON",
        expected=("IMAGE_INVALID", "CONTAINER_EXIT_NONZERO"),
        control=Mended(container={"image": BUSYBOX}),
    ),
    Attack(
        name="image of another architecture",
        image="+foreign",
        program="echo WON",
        expected=("IMAGE_INVALID",),
        control=Plain(),
    ),
    Attack(
        name="missing image, policy never",
        image="autoscorer-test/gone:1",
        program="true",
        settings={"IMAGE_PULL_POLICY": "never"},
        expected=("IMAGE_NOT_PRESENT",),
        control=FINE,
    ),
    Attack(
        name="missing image, policy ifnotpresent, registry down",
        image=GONE,
        program="true",
        expected=("IMAGE_PULL_FAILED",),
        blame="platform",
        control=FINE,
    ),
    Attack(
        name="missing image, policy always, registry down",
        image=GONE,
        program="true",
        settings={"IMAGE_PULL_POLICY": "always"},
        expected=("IMAGE_PULL_FAILED",),
        blame="platform",
        control=Mended(container={"image": BUSYBOX}, settings={"IMAGE_PULL_POLICY": "ifnotpresent"}),
        long=True,
    ),
    Attack(
        name="image that the operator does not allow",
        image=BUSYBOX,
        program="true",
        settings={"IMAGE_ALLOWLIST": '["registry.example/team/*"]'},
        expected=("LIMIT_EXCEEDED",),
        blame="organiser",
        control=Mended(settings={"IMAGE_ALLOWLIST": '["autoscorer-test/*"]'}),
    ),
    Attack(
        name="a GPU where there is none",
        image=BUSYBOX,
        program="true",
        resources={"gpus": 1},
        expected=("RESOURCE_UNAVAILABLE",),
        blame="operator",
        control=Mended(resources={"gpus": 0}),
    ),
    Attack(
        name="the host's network by policy",
        image=BUSYBOX,
        program="true",
        container={"network_policy": "host"},
        expected=("LIMIT_EXCEEDED",),
        blame="organiser",
        control=Mended(container={"network_policy": "none"}),
    ),
]
