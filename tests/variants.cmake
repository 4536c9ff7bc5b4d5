# The contract once more, and the echo under all faults at once, told by their environment: over other
# transports (MPTCP is TCP to the loops), for connections that ask for the kernel's receive timestamps,
# for those that take io_uring's direct descriptors, and with features switched (io/loop_features.h).
# One process a variant: what each case does alone, it did before.

# variant(PROGRAM NAME LOOP [TIER all] ENVIRONMENT ...)
function(variant program name loop)
  cmake_parse_arguments(arg "" "TIER" "ENVIRONMENT" ${ARGN})
  set(moving Echo Send Abort Reset Serve Buffer Message Slow Queue Close Drain Lent Bytes Paused Bounds)
  list(TRANSFORM moving REPLACE "(.+)" "Contract/${loop}.*\\1*")
  string(JOIN : moves ${moving})
  string(JOIN : faults EchoFaults/LOOP.EverythingAtOnce EchoFaults/LOOP.TinyRings
         EchoFaults/LOOP.FewSmallBuffersAndATightBound EchoFaults/LOOP.LostConnections)
  if(program STREQUAL faults)
    string(REPLACE LOOP ${loop} filter "${faults}")
  elseif(arg_TIER)
    set(filter "Contract/${loop}.*")
  else()
    set(filter "${moves}")
  endif()
  ringside_case(${program}.${name}.${loop} ${program} PARTS 1 FILTER "${filter}"
                LABELS ${arg_TIER} ENVIRONMENT ${arg_ENVIRONMENT})
endfunction()

# Rows in which each two of what can be switched meet: what moves bytes, at each change, and under
# sanitizers.
variant(contract unix epoll ENVIRONMENT RINGSIDE_TRANSPORT=unix)
variant(contract unix io_uring ENVIRONMENT RINGSIDE_TRANSPORT=unix)
variant(contract drain_timestamps epoll
        ENVIRONMENT RINGSIDE_LOOP_WITH=drain RINGSIDE_RECEIVE_TIMESTAMPS=1)
variant(contract pieces io_uring ENVIRONMENT RINGSIDE_LOOP_WITH=bundles,incremental-buffers
        RINGSIDE_LOOP_WITHOUT=borrow,receive-cap,defer-taskrun)
variant(contract singles io_uring ENVIRONMENT RINGSIDE_LOOP_WITH=send-zc
        RINGSIDE_LOOP_WITHOUT=multishot-receive,multishot-accept,registered-ring)
variant(contract timestamps io_uring ENVIRONMENT RINGSIDE_RECEIVE_TIMESTAMPS=1
        RINGSIDE_LOOP_WITH=send-zc,bundles RINGSIDE_LOOP_MIN_WAIT_US=20)
variant(contract direct io_uring ENVIRONMENT RINGSIDE_DIRECT_DESCRIPTORS=1
        RINGSIDE_LOOP_WITH=incremental-buffers RINGSIDE_LOOP_WITHOUT=receive-cap)
variant(contract all io_uring
        ENVIRONMENT RINGSIDE_LOOP_WITH=bundles,incremental-buffers,send-zc)
variant(faults all io_uring
        ENVIRONMENT RINGSIDE_LOOP_WITH=bundles,incremental-buffers,send-zc)

# Each by itself, and every case: what only `all` has.
if(NOT RINGSIDE_SANITIZE)
  foreach(loop epoll io_uring)
    variant(contract every_unix ${loop} TIER all ENVIRONMENT RINGSIDE_TRANSPORT=unix)
    variant(contract mptcp ${loop} TIER all ENVIRONMENT RINGSIDE_TRANSPORT=mptcp)
    variant(contract receive_timestamps ${loop} TIER all ENVIRONMENT RINGSIDE_RECEIVE_TIMESTAMPS=1)
  endforeach()
  variant(contract direct_descriptors io_uring TIER all ENVIRONMENT RINGSIDE_DIRECT_DESCRIPTORS=1)
  variant(contract min_wait io_uring TIER all ENVIRONMENT RINGSIDE_LOOP_MIN_WAIT_US=20)
  foreach(program contract faults)
    variant(${program} without_edge-triggered epoll TIER all
            ENVIRONMENT RINGSIDE_LOOP_WITHOUT=edge-triggered)
    variant(${program} with_drain epoll TIER all ENVIRONMENT RINGSIDE_LOOP_WITH=drain)
    foreach(feature bundles incremental-buffers send-zc)
      variant(${program} with_${feature} io_uring TIER all ENVIRONMENT RINGSIDE_LOOP_WITH=${feature})
    endforeach()
    foreach(feature multishot-receive receive-cap)
      variant(${program} without_${feature} io_uring TIER all
              ENVIRONMENT RINGSIDE_LOOP_WITHOUT=${feature})
    endforeach()
  endforeach()
  variant(contract with_sqpoll io_uring TIER all ENVIRONMENT RINGSIDE_LOOP_WITH=sqpoll)
  foreach(feature borrow multishot-accept defer-taskrun coop-taskrun registered-ring)
    variant(contract without_${feature} io_uring TIER all
            ENVIRONMENT RINGSIDE_LOOP_WITHOUT=${feature})
  endforeach()
  # What was the kernel's bytes in pieces, without what else decides whose memory they lie in.
  variant(contract with_pieces io_uring TIER all
          ENVIRONMENT RINGSIDE_LOOP_WITH=bundles,incremental-buffers
                      RINGSIDE_LOOP_WITHOUT=borrow,receive-cap)
endif()
