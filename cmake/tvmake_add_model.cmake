# tvmake_add_model(<target> MODEL <file>
#   [INPUTS <name>=<dtype>[d0,d1,…]|<name>=<value> …] [OUTPUTS <name>…]
#   [PREPROCESS <name>=image(<step>, …) …] [EXECUTOR auto|graph|vm]
#   [LIBRARY STATIC|SHARED] [RUNTIME STATIC|SHARED|EXTERNAL] [WEIGHTS EMBED|FILE]
#   [OPTIMIZE SPEED|SIZE|PRECISE] [NAMESPACE <namespace>] [CPU <cpu>|native] [FEATURES +<x>|-<x> …]
#   [VERIFY [RTOL <r>] [ATOL <a>]])
#
# Compiles a model file into a C++ library. Programs link <target>, include "<target>.hpp" (C++) or
# "<target>.h" (C), and need nothing else.
#
#   MODEL      the model file (.onnx; .pt2 of torch.export; .tflite), absolute or relative to the current
#              source folder. The last two need Python packages beyond ONNX's; they are added to the
#              private environment, which is made again for it.
#   INPUTS     shapes and element types of inputs whose shape the file leaves open, for example
#              "x=float32[1,3,224,224]"; or the value of an input that is to be compiled in as a constant, a
#              number, true, false or a list: "axes=[0,1]".
#   OUTPUTS    names of the outputs to keep, any of the model's tensors (default: the model's outputs).
#              A symbol in place of a number, "x=float32[N,3,H,W]", is known at run time only; a bound,
#              "x=float32[N<=8,3,H,W]" or "N<=8" as an entry of its own, fixes the memory that it needs.
#   PREPROCESS takes inputs as images of bytes and compiles the steps to the model's input into it, for
#              example "x=image(uint8, HWC, size=480x640, scale=1/255, mean=0.5, std=0.2)"; see docs/images.md.
#   EXECUTOR   what runs the model: graph for static shapes; vm for shapes, or control flow, that are known
#              at run time only; auto (default) for vm where the model needs it, which the build tells, with
#              the reason.
#   LIBRARY    STATIC or SHARED (default: SHARED if BUILD_SHARED_LIBS is on, else STATIC). A shared one
#              exports the functions <target>_… and nothing of TVM.
#   RUNTIME    where the library has the runtime from, see tvmake_runtime() (default STATIC). With SHARED and
#              EXTERNAL the library is also a tvm-ffi module with the function "default". EXTERNAL needs
#              LIBRARY SHARED.
#   WEIGHTS    EMBED puts the weights into the library (default), FILE into <target>.weights.bin beside the
#              image that holds the model: copied beside a shared library; tvmake_copy_weights() copies it
#              beside a program that links a static one.
#   OPTIMIZE   what matters most. SPEED (default) takes Winograd's algorithm for convolutions and Strassen's
#              for convolutions and matrix products where they are faster: weights are 2 to 5 times and 1.75
#              times as large, and results differ by up to a thousandth of their range from exact ones. An
#              infinity or NaN may reach more of them than it would directly. SIZE and PRECISE compute all
#              directly.
#   NAMESPACE  C++ namespace of the generated class (default <target>).
#   CPU        the oldest CPU that must run it, in LLVM's words, or native for this machine's (default:
#              TVMAKE_TARGET_CPU of the toolchain file, else what the target triple guarantees).
#   FEATURES   instruction sets to add or leave out, in LLVM's words, for example +avx2 (default:
#              TVMAKE_TARGET_FEATURES).
#   VERIFY     adds a test that compares the outputs with onnxruntime's, see tvmake_add_verify_test(); RTOL
#              and ATOL are its tolerances.
#
# Creates the targets <target> and its alias <target>::<target>. Properties for use by others:
#   TVMAKE_MODEL         the model file
#   TVMAKE_MANIFEST      manifest.json: all that is known of the compiled model
#   TVMAKE_WEIGHTS_FILE  weights.bin
#   TVMAKE_WEIGHTS       EMBED or FILE
#
# Example:
#   tvmake_add_model(resnet18 MODEL models/resnet18.onnx WEIGHTS FILE VERIFY RTOL 1e-4)
#   target_link_libraries(app PRIVATE resnet18)
#   tvmake_copy_weights(app resnet18)
function(tvmake_add_model target)
  set(who "tvmake_add_model(${target})")
  set(flags VERIFY)
  set(
    values
    MODEL
    EXECUTOR
    LIBRARY
    RUNTIME
    WEIGHTS
    OPTIMIZE
    NAMESPACE
    CPU
    RTOL
    ATOL
  )
  set(lists INPUTS OUTPUTS PREPROCESS FEATURES)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "${flags}" "${values}" "${lists}")
  _tvmake_check_unknown("${who}" "${ARG_UNPARSED_ARGUMENTS}" ${flags} ${values} ${lists})
  _tvmake_check_values("${who}" "${ARG_KEYWORDS_MISSING_VALUES}")
  _tvmake_check_toolchain("${who}")
  _tvmake_model_defaults()
  _tvmake_check_model_arguments()
  if(ARG_MODEL MATCHES "\\.[pP][tT]2$")
    _tvmake_require_extra(torch)
  elseif(ARG_MODEL MATCHES "\\.[tT][fF][lL][iI][tT][eE]$")
    _tvmake_require_extra(tflite)
  endif()

  tvmake_runtime(LINKAGE ${ARG_RUNTIME})
  _tvmake_add_compilation(${target})
  _tvmake_add_model_library(${target})
  if(ARG_VERIFY)
    set(tolerances "")
    foreach(keyword IN ITEMS RTOL ATOL)
      if(DEFINED ARG_${keyword})
        list(APPEND tolerances ${keyword} ${ARG_${keyword}})
      endif()
    endforeach()
    tvmake_add_verify_test(${target} ${tolerances})
  endif()
endfunction()

# These macros are tvmake_add_model()'s steps: they read and set its ARG_*.

macro(_tvmake_model_defaults)
  if(NOT DEFINED ARG_LIBRARY)
    set(ARG_LIBRARY STATIC)
    if(BUILD_SHARED_LIBS OR "${ARG_RUNTIME}" STREQUAL "EXTERNAL")
      set(ARG_LIBRARY SHARED)
    endif()
  endif()
  set(
    defaults
    EXECUTOR=auto
    RUNTIME=STATIC
    WEIGHTS=EMBED
    OPTIMIZE=SPEED
    "NAMESPACE=${target}"
  )
  list(APPEND defaults "CPU=${TVMAKE_TARGET_CPU}")
  foreach(default IN LISTS defaults)
    string(REGEX MATCH "^([A-Z]+)=(.*)$" default "${default}")
    if(NOT DEFINED ARG_${CMAKE_MATCH_1})
      set(ARG_${CMAKE_MATCH_1} "${CMAKE_MATCH_2}")
    endif()
  endforeach()
  if(NOT DEFINED ARG_FEATURES)
    set(ARG_FEATURES "${TVMAKE_TARGET_FEATURES}")
  endif()
endmacro()

macro(_tvmake_check_model_arguments)
  if(NOT "${target}" MATCHES "^[A-Za-z_][A-Za-z0-9_]*$")
    string(MAKE_C_IDENTIFIER "${target}" identifier)
    _tvmake_fail(
      "${who}"
      "the target's name is '${target}'"
      EXPECTED "a C identifier: the generated functions are called <target>_create and so on"
      FIX "tvmake_add_model(${identifier} …)"
    )
  endif()
  if(TARGET "${target}")
    _tvmake_fail("${who}" "there is a target '${target}' already" FIX "give the model another name")
  endif()
  if(NOT ARG_MODEL)
    _tvmake_fail("${who}" "MODEL is missing" EXPECTED "MODEL <file.onnx>")
  endif()
  get_filename_component(ARG_MODEL "${ARG_MODEL}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
  if(NOT EXISTS "${ARG_MODEL}" OR IS_DIRECTORY "${ARG_MODEL}")
    _tvmake_fail(
      "${who}"
      "the model file '${ARG_MODEL}' does not exist"
      EXPECTED "a file, absolute or relative to ${CMAKE_CURRENT_SOURCE_DIR}"
      FIX "correct MODEL, or fetch the file first (git lfs pull?)"
    )
  endif()
  _tvmake_check_choice("${who}" EXECUTOR "${ARG_EXECUTOR}" auto graph vm)
  _tvmake_check_choice("${who}" LIBRARY "${ARG_LIBRARY}" STATIC SHARED)
  _tvmake_check_choice("${who}" RUNTIME "${ARG_RUNTIME}" STATIC SHARED EXTERNAL)
  _tvmake_check_choice("${who}" WEIGHTS "${ARG_WEIGHTS}" EMBED FILE)
  _tvmake_check_choice("${who}" OPTIMIZE "${ARG_OPTIMIZE}" SPEED SIZE PRECISE)
  if(NOT ARG_NAMESPACE MATCHES "^[A-Za-z_][A-Za-z0-9_]*(::[A-Za-z_][A-Za-z0-9_]*)*$")
    _tvmake_fail(
      "${who}"
      "NAMESPACE is '${ARG_NAMESPACE}'"
      EXPECTED "a C++ namespace, for example my::net"
    )
  endif()
  foreach(input IN LISTS ARG_INPUTS)
    if(
      NOT input MATCHES "^.+=[a-z0-9]+\\[[A-Za-z0-9_<=, ]*\\]$"
      AND NOT input MATCHES "^[A-Za-z_][A-Za-z0-9_]* *<= *[1-9][0-9]*$"
      AND NOT input MATCHES "^.+=(\\[.*\\]|[-+.0-9][-+.0-9eE]*|true|false)$"
    )
      _tvmake_fail(
        "${who}"
        "INPUTS has '${input}'"
        EXPECTED
          "<name>=<dtype>[d0,d1,…], for example x=float32[1,3,224,224], or <name>=<value>, for example axes=[0,1], or a bound <symbol><=<n>, for example N<=8"
      )
    endif()
  endforeach()
  foreach(image IN LISTS ARG_PREPROCESS)
    if(NOT image MATCHES "^.+=image\\(.*\\)$")
      _tvmake_fail(
        "${who}"
        "PREPROCESS has '${image}'"
        EXPECTED "<name>=image(<step>, …), for example \"x=image(uint8, HWC, scale=1/255)\""
      )
    endif()
  endforeach()
  foreach(feature IN LISTS ARG_FEATURES)
    if(NOT feature MATCHES "^[-+][A-Za-z0-9._-]+$")
      _tvmake_fail(
        "${who}"
        "FEATURES has '${feature}'"
        EXPECTED "+<feature> or -<feature>, for example +avx2"
        FIX "FEATURES +${feature}"
      )
    endif()
  endforeach()
  _tvmake_check_model_contradictions()
endmacro()

macro(_tvmake_check_model_contradictions)
  if(ARG_RUNTIME STREQUAL "EXTERNAL" AND NOT ARG_LIBRARY STREQUAL "SHARED")
    _tvmake_fail(
      "${who}"
      "LIBRARY is ${ARG_LIBRARY} but RUNTIME is EXTERNAL"
      EXPECTED "a shared library: a process that has tvm-ffi loads it at run time"
      FIX "LIBRARY SHARED, or RUNTIME STATIC"
    )
  endif()
  if(ARG_RUNTIME STREQUAL "EXTERNAL" AND ARG_VERIFY)
    _tvmake_fail(
      "${who}"
      "VERIFY cannot be had with RUNTIME EXTERNAL"
      EXPECTED "a model that a program can link; tvm-ffi is missing in one of its own"
      FIX "verify a second target with RUNTIME STATIC, or leave out VERIFY"
    )
  endif()
  if(ARG_CPU STREQUAL "native" AND CMAKE_CROSSCOMPILING)
    _tvmake_fail(
      "${who}"
      "CPU is native, but the build is for another machine"
      EXPECTED "the name of the target's CPU, in LLVM's words"
      FIX "name the CPU, or leave out CPU for what the triple guarantees"
    )
  endif()
  foreach(keyword IN ITEMS RTOL ATOL)
    if(DEFINED ARG_${keyword})
      if(NOT ARG_VERIFY)
        _tvmake_fail(
          "${who}"
          "${keyword} is given without VERIFY"
          FIX "add VERIFY, or leave out ${keyword}"
        )
      endif()
      _tvmake_check_number("${who}" ${keyword} "${ARG_${keyword}}")
    endif()
  endforeach()
endmacro()
