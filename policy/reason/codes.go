package reason

// The codes. A hundred numbers belong to each group.
const (
	// OK is the zero code: nothing was refused.
	OK Code = 0

	// policy
	DeniedByDefault Code = 100
	DeniedByRule    Code = 101
	PolicyChanged   Code = 102
	IdentityRevoked Code = 103
	NotPlaced       Code = 104

	// identity
	CertMissing          Code = 200
	CertExpired          Code = 201
	CertNotYetValid      Code = 202
	CertWrongDomain      Code = 203
	CertWrongPeer        Code = 204
	CertExtraChain       Code = 205
	CertCAAsLeaf         Code = 206
	CertNoID             Code = 207
	CertManyIDs          Code = 208
	CertBadID            Code = 209
	CertWrongUsage       Code = 210
	CertUnknownAuthority Code = 211
	CertWrongKind        Code = 212
	BundleMissing        Code = 213
	CertResumed          Code = 214
	CertRefused          Code = 215

	// join
	TokenMalformed Code = 250
	TokenExpired   Code = 251
	TokenUsed      Code = 252
	TokenUnknown   Code = 253
	PinMismatch    Code = 254

	// catalogue
	NoSuchService     Code = 300
	NoEndpoint        Code = 301
	NoHealthyEndpoint Code = 302
	AllEjected        Code = 303
	EpochStale        Code = 304
	LeaseExpired      Code = 305
	Draining          Code = 306
	NoSuchNode        Code = 307
	NoSuchVersion     Code = 308

	// connect
	PeerUnreachable Code = 400
	PeerLost        Code = 401
	AppUnreachable  Code = 402
	ConnectTimeout  Code = 403
	IdleTimeout     Code = 404
	AppReset        Code = 405
	PeerClosed      Code = 406
	Shutdown        Code = 407
	AppError        Code = 408

	// frame
	FrameVersion   Code = 500
	FrameOversized Code = 501
	FrameTruncated Code = 502
	FrameMalformed Code = 503
	HeaderTimeout  Code = 504

	// limits
	TooManyConnections Code = 600
	TooManyStreams     Code = 601
	HandshakeFlood     Code = 602
	SlowReader         Code = 603
	AuditStalled       Code = 604

	// http
	HTTPMalformed      Code = 700
	HTTPPathUnclean    Code = 701
	HTTPHeaderTooLarge Code = 702
	HTTPUpgradeRefused Code = 703

	// control
	ControlUnreachable   Code = 800
	SnapshotBadSignature Code = 801
	ConfigRejected       Code = 802
	ClockSkew            Code = 803
	DiskFull             Code = 804
	NotPermitted         Code = 805

	// direct
	DirectUnreachable Code = 900
	NoSuchChannel     Code = 901
	ProgramUnknown    Code = 902
	LayoutMismatch    Code = 903
	ChannelRevoked    Code = 904
	ChannelBusy       Code = 905
	WriterDied        Code = 906
	RingUnavailable   Code = 907
	RingCorrupt       Code = 908
)
