#!/bin/sh
# In-place update: the packages replace those that are installed; configuration, state and enrolment stay. A service that
# somebody has stopped stays stopped.
set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=packaging/ssm/common.sh
. ./common.sh

choose_packages
check_platform
check_arguments
ran=no
if [ -z "$(installed_version sekisho)" ] || is_active; then ran=yes; fi
install_packages
enrol
if [ "$ran" = yes ]; then start "$SERVICE"; else say "$SERVICE did not run before, and is not started"; fi
drain
end
