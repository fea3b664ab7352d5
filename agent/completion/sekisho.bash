# shellcheck shell=bash
# Completion of `sekisho` for bash. Made by tests/tools/make_completion.py from `sekisho help`.
_sekisho() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]-} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "replay run check configure enroll drain doctor status blocks block unblock explain brake reload stop help" -- "$cur")
    return
  fi
  case $prev in
    --mode) words="detect prevent" ;;
    -k) words="none all" ;;
    -i | --interface) words="auto $(ls /sys/class/net)" ;;
  esac
  if [ -n "$words" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    return
  fi
  case $verb in
    replay) words="--config --home --log --mode --quiet --rules --set --vars --workers -S -c -j -k -l -q" ;;
    run) words="--config --interface --mode --rules --set -S -c -i" ;;
    check) words="--config --home --list-keywords --restart --rules --set -S -c" ;;
    configure) words="--clear --config --from-environment --from-tags --imds --list -c" ;;
    enroll) words="--again --aws-endpoint --ca --ca-fingerprint --ca-parameter --config --identity --if-needed --imds --manager --region --retry --set --tag --token --token-file --token-parameter --token-secret -c" ;;
    drain) words="--asg --aws-endpoint --config --imds --lifecycle-hook --no-retire --region --set --timeout --wait -c" ;;
    doctor) words="--config --json --set -c" ;;
    status) words="--config --json --socket -c" ;;
    blocks) words="--config --count --for --history --json --limit --match --net --origin --socket --sort -c" ;;
    block) words="--config --for --reason --socket -c" ;;
    unblock) words="--all --config --socket -c" ;;
    explain) words="--config --json --socket -c" ;;
    brake) words="--config --json --release --socket -c" ;;
    reload) words="--config --socket -c" ;;
    stop) words="--clear --config --socket -c" ;;
    help) words="" ; mapfile -t COMPREPLY < <(compgen -W "replay run check configure enroll drain doctor status blocks block unblock explain brake reload stop" -- "$cur") ; return ;;
  esac
  if [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$cur")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}
complete -o filenames -F _sekisho sekisho
