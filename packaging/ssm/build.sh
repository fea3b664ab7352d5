#!/usr/bin/env bash
# The package for AWS Systems Manager Distributor: build.sh PACKAGESDIR OUTDIR. See build.py.
exec python3 -B "$(dirname "$(readlink -f "$0")")/build.py" "$@"
