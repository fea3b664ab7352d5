#!/bin/sh
# Installs Sekisho's agent and rules, enrols the host when a manager is given, and starts the service. May be run again:
# what is done already stays.
set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=packaging/ssm/common.sh
. ./common.sh

choose_packages
check_platform
check_arguments
install_packages
enrol
start "$SERVICE"
drain
end
