#!/usr/bin/env bash
# Starts Triton on the GPUs of one machine, or of several.
#
#   MODEL_REPOSITORY  the rendered repository [/models]
#   LAUNCH            plain    one process: compiled engines on one GPU, tensorrt_llm_api on one GPU [the default]
#                     mpi      a process for each GPU: compiled engines over WORLD_SIZE GPUs (TensorRT-LLM's leader mode)
#                     llmapi   TensorRT-LLM's own launcher, a process for each GPU: tensorrt_llm_api over WORLD_SIZE GPUs
#   WORLD_SIZE        GPUs that one engine spans, on all machines together [1]
#   ENGINE_MODELS     with mpi: Triton names of the engines (NAME_engine; NAME_target,NAME_draft), comma-separated
#   EXIT_TIMEOUT      seconds that open requests have at a stop [60]
#   EXIT_ON_ERROR     true: ends when a model does not load. false: serves the others; /v2/health/ready then says 400 for
#                     good, /v2/health/live 200 [false]
#
# Several machines, as LeaderWorkerSet starts them (LWS_* are its variables): machine 0 runs mpirun, the others an SSH
# server that lets it in. SSH_KEYS is a folder with id_ed25519, id_ed25519.pub and, of all machines the same, host_ed25519
# and host_ed25519.pub [/run/ssh-keys].
#
# Further arguments go to tritonserver.
set -euo pipefail

repository=${MODEL_REPOSITORY:-/models}
launch=${LAUNCH:-plain}
world=${WORLD_SIZE:-1}
machines=${LWS_GROUP_SIZE:-1}
ssh_keys=${SSH_KEYS:-/run/ssh-keys}
ssh_port=2222
work=${TMPDIR:-/tmp}/tritongate
worker_timeout=900 # seconds that the other machines may take to pull the image and start

fail() {
    echo "tritongate-triton: $*" >&2
    exit 2
}
[[ $world =~ ^[1-9][0-9]*$ ]] || fail "WORLD_SIZE=$world is no number over 0"
[[ $machines =~ ^[1-9][0-9]*$ ]] || fail "LWS_GROUP_SIZE=$machines is no number over 0"
((world % machines == 0)) || fail "WORLD_SIZE=$world GPUs cannot be spread evenly over $machines machines"

common=(
    "--model-repository=$repository"
    --disable-auto-complete-config # as NVIDIA's launcher: the rendered configurations are complete
    "--exit-timeout-secs=${EXIT_TIMEOUT:-60}"
    "--exit-on-error=${EXIT_ON_ERROR:-false}"
)
all=(--model-control-mode=explicit "--load-model=*")
supervised=(python3 "$(dirname "$0")/supervise.py" "${EXIT_TIMEOUT:-60}")

# sshd of a user that is not root: keys of its own, no PAM, one port, nobody else. Both sides know the other's key
# beforehand. StrictModes would refuse keys below /tmp, the one place that can be written.
prepare_ssh() {
    umask 077
    mkdir -p "$work"
    cp "$ssh_keys"/id_ed25519 "$ssh_keys"/host_ed25519 "$work"/ # keys must be their user's alone
    cp "$ssh_keys/id_ed25519.pub" "$work/authorized_keys"
    echo "* $(cut -d' ' -f1,2 "$ssh_keys/host_ed25519.pub")" >"$work/known_hosts"
    cat >"$work/client" <<-END
		Host *
		  Port $ssh_port
		  IdentityFile $work/id_ed25519
		  IdentitiesOnly yes
		  UserKnownHostsFile $work/known_hosts
		  StrictHostKeyChecking yes
		  BatchMode yes
		  ConnectTimeout 5
		  ServerAliveInterval 15
	END
    cat >"$work/server" <<-END
		Port $ssh_port
		HostKey $work/host_ed25519
		AuthorizedKeysFile $work/authorized_keys
		StrictModes no
		PidFile none
		UsePAM no
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		AllowTcpForwarding no
		X11Forwarding no
		ClientAliveInterval 15
	END
}

if ((machines > 1)) && [[ ${LWS_WORKER_INDEX:?is not set, but LWS_GROUP_SIZE is: LeaderWorkerSet too old?} != 0 ]]; then
    prepare_ssh
    # What NVIDIA's image sets (LD_LIBRARY_PATH, PATH, NCCL_*) is not in the environment of an SSH login by itself.
    # One directive: sshd takes the first SetEnv alone.
    env | grep -E '^(PATH|LD_LIBRARY_PATH|CUDA_[A-Z0-9_]+|NCCL_[A-Z0-9_]+|UCX_[A-Z0-9_]+|NVIDIA_[A-Z0-9_]+|TRTLLM_[A-Z0-9_]+|HOME)=[^"]+$' |
        sed -E 's/^([A-Z0-9_]+)=(.*)$/\1="\2"/' | paste -sd' ' | sed 's/^/SetEnv /' >>"$work/server"
    exec /usr/sbin/sshd -D -e -f "$work/server"
fi

mpi=(mpirun --allow-run-as-root --bind-to none) # a Triton has many threads
if ((machines > 1)); then
    [[ $launch != plain ]] || fail "LAUNCH=plain runs on one machine; several need mpi or llmapi"
    prepare_ssh
    per_machine=$((world / machines))
    leader=${LWS_LEADER_ADDRESS:?} # NAME-GROUP.SERVICE.NAMESPACE; worker N is NAME-GROUP-N.SERVICE.NAMESPACE
    hosts=(localhost)
    for ((number = 1; number < machines; number++)); do
        hosts+=("${leader%%.*}-$number.${leader#*.}")
    done
    for host in "${hosts[@]:1}"; do
        until ssh -F "$work/client" "$host" true 2>/dev/null; do
            ((SECONDS < worker_timeout)) || fail "$host does not answer after $worker_timeout s"
            sleep 2
        done
    done
    printf "%s slots=$per_machine\n" "${hosts[@]}" >"$work/hosts"
    mpi+=(--hostfile "$work/hosts" --map-by slot --mca plm_rsh_agent "ssh -F $work/client")
fi

case $launch in
plain)
    ((world == 1)) || fail "LAUNCH=plain is for one GPU; WORLD_SIZE=$world needs mpi (compiled engines) or llmapi"
    exec "${supervised[@]}" tritonserver "${common[@]}" "${all[@]}" "--backend-config=python,shm-region-prefix-name=tritongate_" "$@"
    ;;
mpi)
    # Rank 0 serves; the others load the engine alone, and stay in its loading as long as rank 0 lives.
    [[ -n ${ENGINE_MODELS:-} ]] || fail "LAUNCH=mpi needs ENGINE_MODELS, such as llama-3.1-8b-instruct-fp8_engine"
    IFS=, read -ra engines <<<"$ENGINE_MODELS"
    line=("${mpi[@]}")
    for ((rank = 0; rank < world; rank++)); do
        line+=(-n 1 tritonserver "${common[@]}" "--backend-config=python,shm-region-prefix-name=tritongate${rank}_")
        if ((rank == 0)); then
            line+=("${all[@]}" "$@")
        else
            line+=(--model-control-mode=explicit "${engines[@]/#/--load-model=}")
        fi
        ((rank == world - 1)) || line+=(:)
    done
    exec "${supervised[@]}" "${line[@]}"
    ;;
llmapi)
    # Rank 0 runs Triton, whose LLM finds its workers in the other ranks: without mpirun there would be none.
    exec "${supervised[@]}" "${mpi[@]}" -n "$world" trtllm-llmapi-launch tritonserver "${common[@]}" "${all[@]}" \
        "--backend-config=python,shm-region-prefix-name=tritongate_" "$@"
    ;;
*) fail "LAUNCH=$launch; known: plain, mpi, llmapi" ;;
esac
