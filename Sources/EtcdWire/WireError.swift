/// Why bytes are not the protobuf message they should be. The sender's fault, never ours.
public enum WireError: Error, Equatable, Sendable {
    /// The message ends inside a field.
    case truncated
    /// A varint has more than ten bytes, or more than 64 bits.
    case overlongVarint
    /// The tag has field number 0, a number above 2^29 - 1, or an undefined wire type.
    case invalidTag
    /// A group (wire types 3 and 4), which proto3 does not have.
    case group
    /// A known field arrived with a wire type that its type does not allow.
    case wrongWireType(fieldNumber: UInt32)
    /// Messages of a recursive type are nested beyond the type's bound.
    case nestedTooDeeply
    /// A message has more repeated elements than its type's bound.
    case tooManyElements
}

/// The encoding of one field on the wire (protobuf encoding specification, "Message structure").
public enum WireType: UInt8, Sendable {
    /// A base-128 integer: integers, booleans and enumerations.
    case varint = 0
    /// Eight bytes, little-endian.
    case fixed64 = 1
    /// A varint length and that many bytes: bytes, strings, messages, packed lists.
    case lengthDelimited = 2
    /// Four bytes, little-endian.
    case fixed32 = 5
}

/// A field number and its wire type, as they precede every field.
public struct WireTag: Equatable, Sendable {
    /// 1 ... 2^29 - 1.
    public let fieldNumber: UInt32
    /// How the field's value is encoded.
    public let wireType: WireType

    /// Joins a field number and a wire type.
    @inlinable
    public init(fieldNumber: UInt32, wireType: WireType) {
        self.fieldNumber = fieldNumber
        self.wireType = wireType
    }
}
