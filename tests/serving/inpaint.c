/* Fills the holes of photos with an exported SavedModel, through TensorFlow's C API alone.

       inpaint MODEL_DIR PHOTO MASK OUT.png [PHOTO MASK OUT.png ...]

   MODEL_DIR is the folder of one version, which holds saved_model.pb. PHOTO and MASK are JPEG or
   PNG. A photo that fails is named, the others are still done, and the exit code is 1. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

typedef struct {
  const char* data;
  size_t size;
} Bytes;

/* The names of a signature's tensors stand in the MetaGraphDef, a protocol buffer. What follows
   reads just enough of that format: https://protobuf.dev/programming-guides/encoding */

enum { META_GRAPH_SIGNATURES = 5, SIGNATURE_INPUTS = 1, SIGNATURE_OUTPUTS = 2, TENSOR_NAME = 1 };
enum { MAP_KEY = 1, MAP_VALUE = 2 };

static uint64_t take_varint(Bytes* rest) {
  uint64_t value = 0;
  int shift = 0;
  while (rest->size > 0 && shift < 64) {
    unsigned char byte = (unsigned char)*rest->data;
    rest->data++;
    rest->size--;
    value |= (uint64_t)(byte & 0x7f) << shift;
    shift += 7;
    if (byte < 0x80) break;
  }
  return value;
}

static Bytes take_bytes(Bytes* rest, uint64_t size) {
  if (size > rest->size) size = rest->size;
  Bytes taken = {rest->data, (size_t)size};
  rest->data += size;
  rest->size -= (size_t)size;
  return taken;
}

/* Takes fields from a message until one with this number: its content, or {NULL, 0} at the end. */
static Bytes take_field(Bytes* rest, uint64_t number) {
  while (rest->size > 0) {
    uint64_t tag = take_varint(rest);
    Bytes content = {NULL, 0};
    switch (tag & 7) {
      case 0: take_varint(rest); break;
      case 1: take_bytes(rest, 8); break;
      case 2: content = take_bytes(rest, take_varint(rest)); break;
      case 5: take_bytes(rest, 4); break;
      default: rest->size = 0; /* damaged */
    }
    if (tag >> 3 == number && content.data != NULL) return content;
  }
  return (Bytes){NULL, 0};
}

/* The value that a field of a message, a map, has for a key. */
static Bytes map_value(Bytes message, uint64_t number, const char* key) {
  for (;;) {
    Bytes entry = take_field(&message, number);
    if (entry.data == NULL) return entry;
    Bytes of_key = entry, of_value = entry;
    Bytes found = take_field(&of_key, MAP_KEY);
    if (found.size == strlen(key) && memcmp(found.data, key, found.size) == 0) {
      return take_field(&of_value, MAP_VALUE);
    }
  }
}

/* The graph's end of an input or output of serving_default: "operation:0" looked up. */
static TF_Output find_tensor(TF_Graph* graph, const TF_Buffer* meta_graph,
                             uint64_t inputs_or_outputs, const char* name) {
  Bytes message = {meta_graph->data, meta_graph->length};
  Bytes signature = map_value(message, META_GRAPH_SIGNATURES, "serving_default");
  Bytes info = map_value(signature, inputs_or_outputs, name);
  Bytes found = take_field(&info, TENSOR_NAME);
  char operation[256] = "";
  TF_Output tensor = {NULL, 0};
  if (found.data != NULL && found.size < sizeof operation) {
    memcpy(operation, found.data, found.size);
    operation[found.size] = 0;
    char* colon = strrchr(operation, ':');
    if (colon != NULL) {
      *colon = 0;
      tensor.index = atoi(colon + 1);
    }
    tensor.oper = TF_GraphOperationByName(graph, operation);
  }
  if (tensor.oper == NULL) {
    fprintf(stderr, "inpaint: the model has no serving_default with %s\n", name);
    exit(2);
  }
  return tensor;
}

/* A file's content, to be freed, or {NULL, 0} after a message. */
static Bytes read_file(const char* path) {
  Bytes nothing = {NULL, 0};
  FILE* file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    return nothing;
  }
  char* data = NULL;
  size_t size = 0, capacity = 0;
  do {
    if (size == capacity) {
      capacity = capacity ? 2 * capacity : 1 << 16;
      char* larger = realloc(data, capacity);
      if (larger == NULL) break;
      data = larger;
    }
    size += fread(data + size, 1, capacity - size, file);
  } while (!feof(file) && !ferror(file));
  int complete = feof(file) && !ferror(file);
  if (!complete) perror(path);
  fclose(file);
  if (!complete) {
    free(data);
    return nothing;
  }
  return (Bytes){data, size};
}

static int write_file(const char* path, const char* data, size_t size) {
  FILE* file = fopen(path, "wb");
  int written = file != NULL && fwrite(data, 1, size, file) == size;
  if (file != NULL && fclose(file) != 0) written = 0;
  if (!written) perror(path);
  return written;
}

/* A string tensor of shape [1] that looks at the bytes without a copy: they have to outlive it. */
static TF_Tensor* tensor_of(Bytes bytes) {
  const int64_t shape[] = {1};
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, shape, 1, sizeof(TF_TString));
  TF_TString* string = TF_TensorData(tensor);
  TF_StringInit(string);
  TF_StringAssignView(string, bytes.data, bytes.size);
  return tensor;
}

/* 1 if the photo has been filled and written. */
static int fill(TF_Session* session, const TF_Output inputs[2], TF_Output output, char* paths[3]) {
  Bytes photo = read_file(paths[0]);
  Bytes mask = read_file(paths[1]);
  int done = 0;
  if (photo.data != NULL && mask.data != NULL) {
    TF_Status* status = TF_NewStatus();
    TF_Tensor* values[] = {tensor_of(photo), tensor_of(mask)};
    TF_Tensor* filled = NULL;
    TF_SessionRun(session, NULL, inputs, values, 2, &output, &filled, 1, NULL, 0, NULL, status);
    if (TF_GetCode(status) == TF_OK) {
      const TF_TString* png = TF_TensorData(filled);
      done = write_file(paths[2], TF_StringGetDataPointer(png), TF_StringGetSize(png));
      TF_DeleteTensor(filled);
    } else {
      fprintf(stderr, "inpaint: %s: %s\n", paths[0], TF_Message(status));
    }
    TF_DeleteTensor(values[0]);
    TF_DeleteTensor(values[1]);
    TF_DeleteStatus(status);
  }
  free((char*)photo.data);
  free((char*)mask.data);
  return done;
}

int main(int count, char* arguments[]) {
  if (count < 5 || (count - 2) % 3 != 0) {
    fprintf(stderr, "usage: inpaint MODEL_DIR PHOTO MASK OUT.png [PHOTO MASK OUT.png ...]\n");
    return 2;
  }
  const char* const tags[] = {"serve"};
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Buffer* meta_graph = TF_NewBuffer();
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, arguments[1], tags, 1, graph,
                                                     meta_graph, status);
  TF_DeleteSessionOptions(options);
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "inpaint: %s: %s\n", arguments[1], TF_Message(status));
    return 2;
  }
  const TF_Output inputs[] = {
      find_tensor(graph, meta_graph, SIGNATURE_INPUTS, "image_bytes"),
      find_tensor(graph, meta_graph, SIGNATURE_INPUTS, "mask_bytes"),
  };
  const TF_Output output = find_tensor(graph, meta_graph, SIGNATURE_OUTPUTS, "inpainted_bytes");
  TF_DeleteBuffer(meta_graph);

  int failed = 0;
  for (int i = 2; i < count; i += 3) {
    failed |= !fill(session, inputs, output, arguments + i);
  }

  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return failed;
}
