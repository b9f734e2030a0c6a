// NVRTC, implemented with the machine's C++ compiler, which makes a shared library from each kernel's source.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

enum Result { SUCCESS = 0, INVALID_INPUT = 3, COMPILATION = 6 };

struct Program {
  std::string source, log, image;
  std::vector<std::string> expressions;
};

std::string own_folder() {
  Dl_info info;
  dladdr(reinterpret_cast<void *>(own_folder), &info);
  return std::filesystem::path(info.dli_fname).parent_path();
}

std::string shell_word(const std::string &text) {
  std::string result = "'";
  for (char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::string contents(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The name under which CuPy looks up a kernel; for a template it contains the expression's number.
std::string lowered(const Program &program, size_t i) {
  std::string name = program.expressions[i];
  return std::regex_match(name, std::regex("\\w+")) ? name : "expression_" + std::to_string(i);
}

std::string with_entries(const Program &program) {
  std::string source = program.source;
  // Shared memory whose size is an argument of the launch.
  source = std::regex_replace(source, std::regex("extern\\s+__shared__\\s+([\\w ]+?)\\s+(\\w+)\\[\\]"),
                              "$1 *$2 = reinterpret_cast<$1 *>(simulated::dynamic_shared)");
  std::vector<std::pair<std::string, std::string>> kernels;
  std::regex plain("extern\\s+\"C\"\\s+__global__\\s+void\\s+(?:__launch_bounds__\\s*\\([^)]*\\)\\s*)?(\\w+)\\s*\\(");
  for (std::sregex_iterator i(source.begin(), source.end(), plain), end; i != end; ++i)
    kernels.emplace_back((*i)[1], (*i)[1]);
  for (size_t i = 0; i < program.expressions.size(); i++)
    kernels.emplace_back(lowered(program, i), program.expressions[i]);
  bool barriers = std::regex_search(source, std::regex("__sync|__shfl|__ballot"));
  for (auto &[name, expression] : kernels)
    source += "\nSIMULATED_KERNEL(" + name + ", " + (barriers ? "true" : "false") + ", " + expression + ")";
  return source + "\n";
}

}  // namespace

extern "C" {

const char *nvrtcGetErrorString(Result result) { return result == COMPILATION ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }
Result nvrtcVersion(int *major, int *minor) { *major = 13; *minor = 0; return SUCCESS; }
Result nvrtcGetNumSupportedArchs(int *n) { *n = 1; return SUCCESS; }
Result nvrtcGetSupportedArchs(int *archs) { *archs = 90; return SUCCESS; }

Result nvrtcCreateProgram(Program **program, const char *source, const char *, int headers, const char *const *,
                          const char *const *) {
  if (headers) return INVALID_INPUT;
  *program = new Program{source, "", "", {}};
  return SUCCESS;
}
Result nvrtcDestroyProgram(Program **program) { delete *program; *program = nullptr; return SUCCESS; }
Result nvrtcAddNameExpression(Program *program, const char *name) {
  program->expressions.push_back(name);
  return SUCCESS;
}
Result nvrtcGetLoweredName(Program *program, const char *name, const char **result) {
  static std::string kept;
  for (size_t i = 0; i < program->expressions.size(); i++)
    if (program->expressions[i] == name) {
      kept = lowered(*program, i);
      *result = kept.c_str();
      return SUCCESS;
    }
  return INVALID_INPUT;
}

Result nvrtcCompileProgram(Program *program, int n, const char *const *options) {
  std::error_code none;
  std::string name = std::filesystem::temp_directory_path(none) / "kernelXXXXXX";
  if (!mkdtemp(name.data())) {
    program->log = "the simulated CUDA device cannot make a temporary folder: " + name;
    return COMPILATION;
  }
  std::filesystem::path folder = name;
  std::ofstream(folder / "kernel.cpp") << with_entries(*program);
  std::string own = own_folder();
  std::string command = "unset LD_PRELOAD; g++ " KERNEL_OPTIONS " -shared -Wl,-Bsymbolic -include " +
                        shell_word(own + "/simulated_cuda.h") + " -I" + shell_word(own);
  for (int i = 0; i < n; i++)
    if (!strncmp(options[i], "-I", 2) || !strncmp(options[i], "-D", 2)) command += " " + shell_word(options[i]);
  command += " -o " + shell_word(folder / "kernel.so") + " " + shell_word(folder / "kernel.cpp") + " 2>" +
             shell_word(folder / "log");
  int status = system(command.c_str());
  if (WIFSIGNALED(status) ? WTERMSIG(status) == SIGINT : WEXITSTATUS(status) == 128 + SIGINT)
    raise(SIGINT);  // system() made this process ignore the signal
  bool compiled = status == 0;
  program->log = contents(folder / "log");
  if (compiled) {
    std::string library = contents(folder / "kernel.so");
    uint64_t size = library.size();
    program->image = "SIMUCUDA" + std::string(reinterpret_cast<char *>(&size), 8) + library;
  }
  std::filesystem::remove_all(folder);
  return compiled ? SUCCESS : COMPILATION;
}

Result nvrtcGetCUBINSize(Program *program, size_t *size) { *size = program->image.size(); return SUCCESS; }
Result nvrtcGetCUBIN(Program *program, char *image) {
  memcpy(image, program->image.data(), program->image.size());
  return SUCCESS;
}
// The keys of CuPy's cache depend on this text, so kernels are compiled again after the compiler or device changes.
static const char PTX[] = "// simulated CUDA " BUILD ", g++ " __VERSION__ "\n";
Result nvrtcGetPTXSize(Program *, size_t *size) { *size = sizeof PTX; return SUCCESS; }
Result nvrtcGetPTX(Program *, char *text) { memcpy(text, PTX, sizeof PTX); return SUCCESS; }
Result nvrtcGetProgramLogSize(Program *program, size_t *size) { *size = program->log.size() + 1; return SUCCESS; }
Result nvrtcGetProgramLog(Program *program, char *log) { strcpy(log, program->log.c_str()); return SUCCESS; }

}  // extern "C"
