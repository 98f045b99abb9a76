import { create, createFileRegistry, type DescMessage, type Message } from '@bufbuild/protobuf';
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
} from '@bufbuild/protobuf/wkt';

/**
 * The messages of ONNX in graphs, with the field numbers of onnx.proto (github.com/onnx/onnx). Other fields survive
 * reading and writing as unknown fields of the protobuf library.
 */
export interface ModelProto extends Message<'onnx.ModelProto'> {
  irVersion: bigint;
  opsetImport: OperatorSetId[];
  producerName: string;
  producerVersion: string;
  domain: string;
  modelVersion: bigint;
  docString: string;
  graph?: GraphProto;
  metadataProps: StringEntry[];
}

export interface OperatorSetId extends Message<'onnx.OperatorSetIdProto'> {
  domain: string;
  version: bigint;
}

interface StringEntry extends Message<'onnx.StringStringEntryProto'> {
  key: string;
  value: string;
}

export interface GraphProto extends Message<'onnx.GraphProto'> {
  node: NodeProto[];
  name: string;
  initializer: TensorProto[];
  docString: string;
  input: ValueInfo[];
  output: ValueInfo[];
  valueInfo: ValueInfo[];
}

export interface NodeProto extends Message<'onnx.NodeProto'> {
  /** An empty name means that an optional input is absent. */
  input: string[];
  output: string[];
  name: string;
  opType: string;
  domain: string;
  attribute: AttributeProto[];
}

export interface AttributeProto extends Message<'onnx.AttributeProto'> {
  name: string;
  /** The field with the value: {@link attributeTypes}. */
  type: number;
  f: number;
  i: bigint;
  s: Uint8Array;
  t?: TensorProto;
  g?: GraphProto;
  floats: number[];
  ints: bigint[];
  strings: Uint8Array[];
  tensors: TensorProto[];
  graphs: GraphProto[];
}

export interface TensorProto extends Message<'onnx.TensorProto'> {
  dims: bigint[];
  /** A number of {@link elementTypes}. */
  dataType: number;
  floatData: number[];
  int32Data: number[];
  int64Data: bigint[];
  name: string;
  rawData: Uint8Array;
  doubleData: number[];
  externalData: StringEntry[];
  /** 1: the values are in another file, named in `externalData`. */
  dataLocation: number;
}

interface ValueInfo extends Message<'onnx.ValueInfoProto'> {
  name: string;
  type?: TypeProto;
}

interface TypeProto extends Message<'onnx.TypeProto'> {
  tensorType?: TensorType;
}

interface TensorType extends Message<'onnx.TypeProtoTensor'> {
  elemType: number;
  shape?: TensorShape;
}

interface TensorShape extends Message<'onnx.TensorShapeProto'> {
  dim: Dimension[];
}

interface Dimension extends Message<'onnx.TensorShapeProtoDimension'> {
  dimValue: bigint;
  dimParam: string;
}

/** Values of `AttributeProto.type`. */
export const attributeTypes = { float: 1, int: 2, string: 3, tensor: 4, floats: 6, ints: 7, strings: 8 } as const;

const scalars = {
  float: FieldDescriptorProto_Type.FLOAT,
  double: FieldDescriptorProto_Type.DOUBLE,
  int32: FieldDescriptorProto_Type.INT32,
  int64: FieldDescriptorProto_Type.INT64,
  uint64: FieldDescriptorProto_Type.UINT64,
  string: FieldDescriptorProto_Type.STRING,
  bytes: FieldDescriptorProto_Type.BYTES,
} as const;

/** A field: its number, and its type: a scalar or a message; `[]` marks a list, `[packed]` a list in one record. */
type Field = readonly [number: number, type: string];

const messages: Readonly<Record<string, Readonly<Record<string, Field>>>> = {
  ModelProto: {
    ir_version: [1, 'int64'],
    opset_import: [8, 'OperatorSetIdProto[]'],
    producer_name: [2, 'string'],
    producer_version: [3, 'string'],
    domain: [4, 'string'],
    model_version: [5, 'int64'],
    doc_string: [6, 'string'],
    graph: [7, 'GraphProto'],
    metadata_props: [14, 'StringStringEntryProto[]'],
  },
  OperatorSetIdProto: { domain: [1, 'string'], version: [2, 'int64'] },
  StringStringEntryProto: { key: [1, 'string'], value: [2, 'string'] },
  GraphProto: {
    node: [1, 'NodeProto[]'],
    name: [2, 'string'],
    initializer: [5, 'TensorProto[]'],
    doc_string: [10, 'string'],
    input: [11, 'ValueInfoProto[]'],
    output: [12, 'ValueInfoProto[]'],
    value_info: [13, 'ValueInfoProto[]'],
  },
  NodeProto: {
    input: [1, 'string[]'],
    output: [2, 'string[]'],
    name: [3, 'string'],
    op_type: [4, 'string'],
    domain: [7, 'string'],
    attribute: [5, 'AttributeProto[]'],
  },
  AttributeProto: {
    name: [1, 'string'],
    type: [20, 'int32'],
    f: [2, 'float'],
    i: [3, 'int64'],
    s: [4, 'bytes'],
    t: [5, 'TensorProto'],
    g: [6, 'GraphProto'],
    floats: [7, 'float[]'],
    ints: [8, 'int64[]'],
    strings: [9, 'bytes[]'],
    tensors: [10, 'TensorProto[]'],
    graphs: [11, 'GraphProto[]'],
  },
  TensorProto: {
    dims: [1, 'int64[]'],
    data_type: [2, 'int32'],
    float_data: [4, 'float[packed]'],
    int32_data: [5, 'int32[packed]'],
    int64_data: [7, 'int64[packed]'],
    name: [8, 'string'],
    raw_data: [9, 'bytes'],
    double_data: [10, 'double[packed]'],
    external_data: [13, 'StringStringEntryProto[]'],
    data_location: [14, 'int32'],
  },
  ValueInfoProto: { name: [1, 'string'], type: [2, 'TypeProto'] },
  TypeProto: { tensor_type: [1, 'TypeProtoTensor'] },
  TypeProtoTensor: { elem_type: [1, 'int32'], shape: [2, 'TensorShapeProto'] },
  TensorShapeProto: { dim: [1, 'TensorShapeProtoDimension[]'] },
  TensorShapeProtoDimension: { dim_value: [1, 'int64'], dim_param: [2, 'string'] },
};

function describeField(name: string, [number, written]: Field) {
  const [, type, list] = /^(\w+)(?:\[(packed)?\])?$/.exec(written) as unknown as [string, string, string | undefined];
  const scalar = scalars[type as keyof typeof scalars] as FieldDescriptorProto_Type | undefined;
  return {
    ...{ name, number },
    label: written.endsWith(']') ? FieldDescriptorProto_Label.REPEATED : FieldDescriptorProto_Label.OPTIONAL,
    ...(scalar === undefined
      ? { type: FieldDescriptorProto_Type.MESSAGE, typeName: `.onnx.${type}` }
      : { type: scalar }),
    ...(list ? { options: { packed: true } } : {}),
  };
}

const registry = createFileRegistry(
  create(FileDescriptorProtoSchema, {
    name: 'onnx.proto',
    package: 'onnx',
    syntax: 'proto2',
    messageType: Object.entries(messages).map(([name, fields]) => ({
      name,
      field: Object.entries(fields).map(([field, described]) => describeField(field, described)),
    })),
  }),
  () => undefined,
);

const schemaOf = (name: string) => registry.getMessage(`onnx.${name}`) as DescMessage;

/** Descriptions of the messages for the functions of the protobuf library. */
export const schemas = {
  model: schemaOf('ModelProto'),
  graph: schemaOf('GraphProto'),
  node: schemaOf('NodeProto'),
  attribute: schemaOf('AttributeProto'),
  tensor: schemaOf('TensorProto'),
  valueInfo: schemaOf('ValueInfoProto'),
  operatorSet: schemaOf('OperatorSetIdProto'),
  stringEntry: schemaOf('StringStringEntryProto'),
};
